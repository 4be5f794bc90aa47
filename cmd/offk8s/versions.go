package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/manifests/catalog"
)

func (a *app) versionsCommand() *cobra.Command {
	var overlay string
	cmd := &cobra.Command{
		Use:   "versions",
		Short: "List the Kubernetes versions that can be packed",
		Example: `  offk8s versions
  offk8s versions --format json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cat, err := loadCatalog(overlay)
			if err != nil {
				return err
			}
			list := listVersions(cat)
			return a.result(list, func(w io.Writer) error { return writeVersions(w, cat, list) })
		},
	}
	cmd.Flags().StringVar(&overlay, "catalog", "", "directory with catalog entries that add to or override the built-in ones")
	return cmd
}

// versionInfo is a minor in the output of `offk8s versions`.
type versionInfo struct {
	Minor      string             `json:"minor"`               // "1.36"
	Version    string             `json:"version"`             // the patch that --version with the minor packs
	Patches    []string           `json:"patches"`             // all versions that --version accepts, oldest first
	EndOfLife  string             `json:"endOfLife,omitempty"` // day on which upstream's support ended, as 2020-09-02
	Notes      string             `json:"notes,omitempty"`     // limits and known vulnerabilities
	Components []componentVersion `json:"components"`
	// Defaults are the values of the flags of pack that are not given.
	Defaults catalog.ReleaseDefaults `json:"defaults"`
	// Distros, CNIs and Runtimes are the values that --os, --cni and --runtime accept.
	Distros  []string `json:"distros"`
	CNIs     []string `json:"cnis"`
	Runtimes []string `json:"runtimes"`
}

// componentVersion is a program of upstream in a versionInfo.
type componentVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"` // as upstream writes it
}

func listVersions(cat *catalog.Catalog) []versionInfo {
	var out []versionInfo
	for _, r := range cat.Versions() {
		v := versionInfo{
			Minor: r.Minor, Version: r.Version, Patches: r.PatchVersions(), EndOfLife: r.EndOfLife, Notes: r.Notes, Defaults: r.Defaults,
			Distros: cat.DistrosFor(r), CNIs: cat.CNIsFor(r), Runtimes: r.Runtimes(),
		}
		for _, c := range r.Components {
			v.Components = append(v.Components, componentVersion{c.Name, c.Version})
		}
		out = append(out, v)
	}
	return out
}

// writeVersions lists the minors with their patches, what they can be packed
// with, and their notes.
func writeVersions(w io.Writer, cat *catalog.Catalog, list []versionInfo) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "MINOR\tPATCHES\tETCD\tCONTAINERD\tEND OF LIFE")
	for _, v := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", v.Minor, v.patchRanges(), v.component("etcd"),
			v.component("containerd"), cmp.Or(v.EndOfLife, "-"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprint(w, "\n* default: --version 1.36 is its newest patch here\n\n")
	fmt.Fprintln(tw, "CHOICE\tFOR\tDEFAULT FOR\tARCH")
	choice := func(flag, name, arches string, has, def func(versionInfo) []string) {
		among := func(list func(versionInfo) []string) func(versionInfo) bool {
			return func(v versionInfo) bool { return slices.Contains(list(v), name) }
		}
		if has := minorRanges(list, among(has)); has != "-" {
			fmt.Fprintf(tw, "--%s %s\t%s\t%s\t%s\n", flag, name, has, minorRanges(list, among(def)), arches)
		}
	}
	for _, name := range cat.DistroNames() {
		d, err := cat.Distro(name)
		if err != nil {
			return err
		}
		choice("os", name, strings.Join(d.Arches, ","), func(v versionInfo) []string { return v.Distros },
			func(v versionInfo) []string { return v.Defaults.Distros })
	}
	for _, name := range cat.CNINames() {
		choice("cni", name, "all", func(v versionInfo) []string { return v.CNIs }, func(v versionInfo) []string { return []string{v.Defaults.CNI} })
	}
	for _, name := range catalog.Runtimes {
		choice("runtime", name, "all", func(v versionInfo) []string { return v.Runtimes }, func(v versionInfo) []string { return []string{v.Defaults.Runtime} })
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := 0; i < len(list); i++ {
		first := list[i]
		for i+1 < len(list) && list[i+1].Notes == first.Notes {
			i++
		}
		if first.Notes != "" {
			fmt.Fprint(w, "\n"+wrapped(span(first.Minor, list[i].Minor)+": "+first.Notes, 78)+"\n")
		}
	}
	return nil
}

// patchRanges returns the patches with the default marked: "0-6,8,9*".
func (v versionInfo) patchRanges() string {
	var numbers []int
	for _, version := range v.Patches {
		if p, err := catalog.ParseVersion(version); err == nil && version != v.Version {
			numbers = append(numbers, p.Patch)
		}
	}
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		parts = append(parts, span(fmt.Sprint(numbers[i]), fmt.Sprint(numbers[j])))
		i = j + 1
	}
	if p, err := catalog.ParseVersion(v.Version); err == nil {
		parts = append(parts, fmt.Sprintf("%d*", p.Patch))
	}
	return strings.Join(parts, ",")
}

// minorRanges returns the minors that have something: "1.16-1.22,1.24".
func minorRanges(list []versionInfo, has func(versionInfo) bool) string {
	var parts []string
	for i := 0; i < len(list); i++ {
		if !has(list[i]) {
			continue
		}
		first := i
		for i+1 < len(list) && has(list[i+1]) {
			i++
		}
		parts = append(parts, span(list[first].Minor, list[i].Minor))
	}
	return cmp.Or(strings.Join(parts, ","), "-")
}

func span(first, last string) string {
	if first == last {
		return first
	}
	return first + "-" + last
}

// wrapped breaks text at spaces into lines of at most width characters, all but the
// first indented.
func wrapped(text string, width int) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), " "
		}
		line += " " + word
	}
	return strings.TrimPrefix(strings.Join(append(lines, line), "\n"), " ")
}

// component returns the version of a program, "-" if there is none.
func (v versionInfo) component(name string) string {
	for _, c := range v.Components {
		if c.Name == name {
			return strings.TrimPrefix(c.Version, "v")
		}
	}
	return "-"
}

// loadCatalog returns the built-in catalog, merged with the entries in dir.
func loadCatalog(dir string) (*catalog.Catalog, error) {
	cat, err := catalog.Embedded()
	if err != nil || dir == "" {
		return cat, err
	}
	if err := cat.Overlay(dir); err != nil {
		return nil, usagef("--catalog: %w", err)
	}
	return cat, nil
}
