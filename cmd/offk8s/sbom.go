package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
)

func (a *app) sbomCommand() *cobra.Command {
	var o trustOptions
	spdx := false
	cmd := &cobra.Command{
		Use:   "sbom [BUNDLE]",
		Short: "Print the software bill of materials of a bundle",
		Long: `Prints every artifact of a bundle as CycloneDX 1.6, or with --spdx as SPDX 2.3, in JSON: name,
version, package URL, digest, source, the evidence for it, and which package brought it
in. The same bundle gives the same document. What is inside an image is not listed: scan
the image, which offk8s extract writes.`,
		Example: `  offk8s sbom --key offk8s.pub kubernetes-1.36.tar > kubernetes-1.36.cdx.json
  offk8s sbom --key offk8s.pub --spdx kubernetes-1.36.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBundle(cmd.Context(), o, args, func(b *bundle.Bundle) error {
				var v any = bundle.SBOM(b)
				if spdx {
					v = bundle.SBOM(b).SPDX()
				}
				return a.result(v, func(w io.Writer) error { return writeDocument(w, v) })
			})
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&spdx, "spdx", false, "SPDX 2.3 instead of CycloneDX 1.6")
	return cmd
}

// writeDocument writes a document for other programs as JSON.
func writeDocument(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
