package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// completions has the values that shells complete, by the name of the flag: a flag
// has the same meaning in all commands. Lists are completed element by element.
var completions = map[string]func(*cobra.Command) []string{
	"format":           fixed(formats...),
	"progress":         fixed(progressForms...),
	"log-format":       fixed(logFormats...),
	"arch":             fixed(catalog.Arches...),
	"assume-installed": fixed(manifests.AssumeNone, manifests.AssumeMinimal),
	"attachments":      fixed(manifests.AttachmentsAll, manifests.AttachmentsNone),
	"runtime":          fixed(manifests.RuntimeContainerd, manifests.RuntimeDocker),
	"version":          fromCatalog(versionNames),
	"os":               fromCatalog((*catalog.Catalog).DistroNames),
	"cni":              fromCatalog((*catalog.Catalog).CNINames),
	"require":          fixed(requirements...),
	"split":            fixed(splitAuto, "4GiB", "700MiB"),
	"kind":             fixed(kinds...),
	"topology":         topologyNames,
	"host":             hostNames,
	"from":             hostNames,
	"only":             fixed(stage.DrillNames()...),
}

// complete registers the completions of cmd and the commands below it.
func complete(cmd *cobra.Command) {
	register := func(f *pflag.Flag) {
		values, ok := completions[f.Name]
		if !ok || f.Value.Type() == "bool" {
			return
		}
		list := f.Value.Type() == "stringSlice"
		_ = cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			done := ""
			if i := strings.LastIndex(typed, ","); list && i >= 0 {
				done = typed[:i+1]
			}
			var out []string
			for _, v := range values(cmd) {
				out = append(out, done+v)
			}
			if f.Name == "version" && strings.Count(typed, ".") > 1 {
				out = fromCatalog(patchNames)(cmd)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		})
	}
	cmd.Flags().VisitAll(register)
	cmd.PersistentFlags().VisitAll(register)
	for _, sub := range cmd.Commands() {
		complete(sub)
	}
}

func fixed(values ...string) func(*cobra.Command) []string {
	return func(*cobra.Command) []string { return values }
}

// fromCatalog returns names of the catalog, with that of --catalog.
func fromCatalog(names func(*catalog.Catalog) []string) func(*cobra.Command) []string {
	return func(cmd *cobra.Command) []string {
		overlay, _ := cmd.Flags().GetString("catalog")
		cat, err := loadCatalog(overlay)
		if err != nil {
			return nil // the command will say why
		}
		return names(cat)
	}
}

func versionNames(cat *catalog.Catalog) []string {
	var out []string
	for _, r := range cat.Versions() {
		out = append(out, r.Minor)
	}
	slices.Reverse(out) // the newest is wanted most often
	return out
}

// patchNames returns the patches of all minors, which are too many to offer at once.
func patchNames(cat *catalog.Catalog) []string {
	var out []string
	for _, r := range cat.Versions() {
		out = append(out, r.PatchVersions()...)
	}
	return out
}

func topologyNames(*cobra.Command) []string {
	var out []string
	for _, t := range manifests.Topologies() {
		out = append(out, t.Name+"\t"+t.About)
	}
	return append(out, "ha\tanother name of production")
}

// hostNames returns the hosts in the file of --file.
func hostNames(cmd *cobra.Command) []string {
	file, _ := cmd.Flags().GetString("file")
	c, err := clusterOptions{file: file}.load()
	if err != nil {
		return nil
	}
	var out []string
	for _, h := range c.Hosts {
		out = append(out, h.Name)
	}
	return out
}

// completeLogs completes the arguments of logs: a host and one of its units.
func completeLogs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return hostNames(cmd), cobra.ShellCompDirectiveNoFileComp
	}
	file, _ := cmd.Flags().GetString("file")
	c, err := clusterOptions{file: file}.load()
	if err != nil || len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	h, err := findHost(c, args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return stage.Units(c, h), cobra.ShellCompDirectiveNoFileComp
}
