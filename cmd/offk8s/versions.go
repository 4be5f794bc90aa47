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
			return a.result(cat.Versions(), func(w io.Writer) error { return writeVersions(w, cat) })
		},
	}
	cmd.Flags().StringVar(&overlay, "catalog", "", "directory with catalog entries that add to or override the built-in ones")
	return cmd
}

// writeVersions lists the releases, with the default operating systems and
// architectures marked, and their notes.
func writeVersions(w io.Writer, cat *catalog.Catalog) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "VERSION\tETCD\tRUNTIME\tCNI\tOS\tARCH\tEND OF LIFE")
	for _, r := range cat.Versions() {
		fmt.Fprintf(tw, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", r.Version, component(r, "etcd"),
			r.Defaults.Runtime, component(r, r.Defaults.Runtime), marked(cat.CNINames(), r.Defaults.CNI),
			marked(cat.DistroNames(), r.Defaults.Distros...), marked(catalog.Arches, r.Defaults.Arches...), cmp.Or(r.EndOfLife, "-"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\n* default; choose others with --os, --arch and --cni of offk8s pack")
	for _, r := range cat.Versions() {
		if r.Notes != "" {
			fmt.Fprintf(w, "\n%s: %s\n", r.Version, r.Notes)
		}
	}
	return nil
}

// marked lists names, with a * after the defaults.
func marked(names []string, defaults ...string) string {
	out := slices.Clone(names)
	for i, n := range out {
		if slices.Contains(defaults, n) {
			out[i] += "*"
		}
	}
	return strings.Join(out, ",")
}

func component(r catalog.Release, name string) string {
	for _, c := range r.Components {
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
