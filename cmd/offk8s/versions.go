package main

import (
	"cmp"
	"fmt"
	"io"
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
			releases := cat.Versions()
			return a.result(releases, func(w io.Writer) error { return writeVersions(w, releases) })
		},
	}
	cmd.Flags().StringVar(&overlay, "catalog", "", "directory with catalog entries that add to or override the built-in ones")
	return cmd
}

func writeVersions(w io.Writer, releases []catalog.Release) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "VERSION\tETCD\tRUNTIME\tCNI\tDISTROS\tARCHES\tEND OF LIFE")
	for _, r := range releases {
		fmt.Fprintf(tw, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", r.Version, component(r, "etcd"),
			r.Defaults.Runtime, component(r, r.Defaults.Runtime), r.Defaults.CNI,
			strings.Join(r.Defaults.Distros, ","), strings.Join(r.Defaults.Arches, ","), cmp.Or(r.EndOfLife, "-"))
	}
	return tw.Flush()
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
