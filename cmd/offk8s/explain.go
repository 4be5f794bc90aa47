package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/fields"
	"github.com/offk8s/offk8s/manifests/strict"
)

// document is a file that users write.
type document struct {
	name, file string
	fields     func() []fields.Field
}

// documents has the files that explain and config schema know.
var documents = []document{
	{"cluster", "cluster.yaml", manifests.ClusterFields},
	{"pack", "pack.yaml", manifests.ManifestFields},
}

func documentNames() []string {
	var names []string
	for _, d := range documents {
		names = append(names, d.name)
	}
	return names
}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [FIELD]",
		Short: "Describe the fields of cluster.yaml and pack.yaml",
		Long: `Describes a field of cluster.yaml, such as network.podCIDR, and the fields below it. A
field of pack.yaml begins with "pack.", such as pack.images. Without FIELD, explain lists
the fields of both files.

Exit status: 0 done; 2 no such field.`,
		Example: `  offk8s explain loadBalancer
  offk8s explain hosts.roles
  offk8s explain pack.files --format json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFields,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.explainAll()
			}
			f, err := findField(args[0])
			if err != nil {
				return err
			}
			return a.result(f, func(w io.Writer) error { return writeField(w, f) })
		},
	}
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Print the JSON Schema of cluster.yaml or pack.yaml"}
	cmd.AddCommand(&cobra.Command{
		Use:   "schema {cluster|pack}",
		Short: "Print the JSON Schema of cluster.yaml or pack.yaml",
		Long: `Prints the JSON Schema (draft 2020-12) of a file, for editors that complete and check it
while you write.

Exit status: 0 done; 2 usage.`,
		Example:   `  offk8s config schema cluster > cluster.schema.json`,
		ValidArgs: documentNames(),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, d := range documents {
				if d.name == args[0] {
					a.format = "json" // a schema has no other form
					return a.result(fields.Schema("offk8s "+d.file, d.fields()), nil)
				}
			}
			return nil
		},
	})
	return cmd
}

// explainAll lists the fields of all documents, those in objects too.
func (a *app) explainAll() error {
	all := map[string][]fields.Field{}
	for _, d := range documents {
		all[d.name] = d.fields()
	}
	return a.result(all, func(w io.Writer) error {
		for i, d := range documents {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "%s\n\n", d.file)
			tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			eachField(d.fields(), func(f fields.Field) { fmt.Fprintf(tw, "  %s\t%s\n", f.Path, fieldType(f)) })
			if err := tw.Flush(); err != nil {
				return err
			}
		}
		return nil
	})
}

// indices matches what explain ignores in a path: "[]", "[0]".
var indices = strict.NewPattern(`\[\d*\]`)

// findField returns the field with a path such as "hosts[0].address", "hosts.address",
// "cluster.hosts" or "pack.images".
func findField(path string) (fields.Field, error) {
	path = indices.Regexp().ReplaceAllString(path, "")
	d := documents[0]
	for _, x := range documents {
		rest, ok := strings.CutPrefix(path, x.name+".")
		if path == x.name || path == x.file {
			return fields.Field{Path: x.file, Type: "object", Fields: x.fields()}, nil
		}
		if ok {
			d, path = x, rest
		}
	}
	var found fields.Field
	var names []string
	eachField(d.fields(), func(f fields.Field) {
		name := indices.Regexp().ReplaceAllString(f.Path, "")
		names = append(names, name)
		if name == path {
			found = f
		}
	})
	if found.Path != "" {
		return found, nil
	}
	err := usagef("%s has no field %q", d.file, path)
	if near, ok := strict.Nearest(path, names); ok {
		if d.name != documents[0].name {
			near = d.name + "." + near
		}
		return found, withHint(err, "%s", strict.DidYouMean(near))
	}
	return found, withHint(err, "offk8s explain lists all fields")
}

// eachField calls do for the fields and those below them, in order.
func eachField(list []fields.Field, do func(fields.Field)) {
	for _, f := range list {
		do(f)
		eachField(f.Fields, do)
	}
}

func fieldType(f fields.Field) string {
	if f.Required {
		return f.Type + ", required"
	}
	return f.Type
}

func writeField(w io.Writer, f fields.Field) error {
	fmt.Fprintf(w, "%s  (%s)\n", f.Path, fieldType(f))
	if f.Description != "" {
		fmt.Fprintf(w, "\n%s\n", strings.ReplaceAll(wrapped(f.Description, 90), "\n  ", "\n"))
	}
	for _, x := range f.Fields {
		fmt.Fprintf(w, "\n  %s  (%s)\n", x.Path, fieldType(x))
		if x.Description != "" {
			fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(wrapped(x.Description, 86), "\n  ", "\n    "))
		}
	}
	return nil
}

func completeFields(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for i, d := range documents {
		eachField(d.fields(), func(f fields.Field) {
			name := indices.Regexp().ReplaceAllString(f.Path, "")
			if i > 0 {
				name = d.name + "." + name
			}
			names = append(names, name)
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
