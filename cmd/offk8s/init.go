package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/manifests"
)

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
				return errors.New("want one argument: pack or cluster")
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
			if err := hintExists(name, durable.Create(name, content, 0o644)); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.stdout, name)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, - for stdout (default ./pack.yaml or ./cluster.yaml)")
	return cmd
}

// hintExists adds a hint if err reports that the file name exists.
func hintExists(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return withHint(usagef("%q already exists", name), "choose another file with -o, or remove this one first")
	}
	return err
}
