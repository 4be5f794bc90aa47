package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
)

func (a *app) inventoryCommand() *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "inventory [BUNDLE]",
		Short: "List the content of a bundle, for a delta that is packed elsewhere",
		Long: `Prints identity and digests of a bundle as JSON. Carry this small file to the packing
machine: pack --since FILE leaves out what the bundle has, without the bundle being
there.`,
		Example: `  offk8s inventory --key offk8s.pub kubernetes-1.36.tar > site.json
  offk8s pack --version 1.36 --sequence 2 --since site.json -o delta.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBundle(cmd.Context(), o, args, func(b *bundle.Bundle) error {
				v := b.Inventory()
				return a.result(v, func(w io.Writer) error {
					enc := json.NewEncoder(w)
					enc.SetIndent("", " ")
					return enc.Encode(v)
				})
			})
		},
	}
	o.flags(cmd)
	return cmd
}
