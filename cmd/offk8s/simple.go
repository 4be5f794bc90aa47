package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of offk8s",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return a.result(v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "offk8s %s (%s, %s)\n", v["version"], v["go"], v["platform"])
				return err
			})
		},
	}
}

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
	cmd.Flags().StringVar(&overlay, "catalog", "", "folder with catalog entries that add to or override the built-in ones")
	return cmd
}

func writeVersions(w io.Writer, releases []catalog.Release) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "VERSION\tETCD\tRUNTIME\tCNI\tDISTROS\tARCHES\tEND OF LIFE")
	for _, r := range releases {
		eol := r.EndOfLife
		if eol == "" {
			eol = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", r.Version, component(r, "etcd"),
			r.Defaults.Runtime, component(r, r.Defaults.Runtime), r.Defaults.CNI,
			strings.Join(r.Defaults.Distros, ","), strings.Join(r.Defaults.Arches, ","), eol)
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

// loadCatalog returns the built-in catalog with the entries of dir over it.
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

func (a *app) initCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "init {pack|cluster}",
		Short: "Write a commented pack.yaml or cluster.yaml",
		Example: `  offk8s init cluster              writes ./cluster.yaml
  offk8s init pack -o -            prints pack.yaml`,
		ValidArgs: []string{"pack", "cluster"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return errors.New("say what to write: pack or cluster")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			content, name := manifests.InitCluster(), "cluster.yaml"
			if args[0] == "pack" {
				content, name = manifests.InitManifest(), "pack.yaml"
			}
			if output == "-" {
				_, err := a.stdout.Write(content)
				return err
			}
			if output != "" {
				name = output
			}
			if err := notOver(name, durable.Create(name, content, 0o644)); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.stdout, name)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, - for stdout (default ./pack.yaml or ./cluster.yaml)")
	return cmd
}

// notOver says of a file that was to be made and is there what helps.
func notOver(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return withHint(usagef("%q is there already", name), "name another file with -o, or remove this one first")
	}
	return err
}
