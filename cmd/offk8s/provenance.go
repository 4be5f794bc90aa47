package main

import (
	"cmp"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// provenanceSuffix ends the name of the file beside a bundle with its provenance.
const provenanceSuffix = ".provenance.json"

// writeProvenance writes the provenance of a bundle beside it.
func writeProvenance(path string, lock *manifests.Lock, root digest.Digest, key *trust.KeyPair) error {
	envelope, err := bundle.Attest(lock, root, key)
	if err != nil {
		return err
	}
	return durable.WriteFile(path+provenanceSuffix, envelope, 0o644)
}

func (a *app) provenanceCommand() *cobra.Command {
	var o trustOptions
	var file string
	cmd := &cobra.Command{
		Use:   "provenance [BUNDLE]",
		Short: "Check and print where the content of a bundle came from",
		Long: `Prints the provenance that pack and sign write beside a bundle, BUNDLE.provenance.json:
an in-toto statement with the predicate of SLSA v1 in a DSSE envelope, which other tools
can check with the same public key. It lists each artifact with its digest, each source
with its address, digest and the evidence for it, and the version of offk8s. It must be of
this bundle, and signed by the key of the bundle.

Exit status: 0 good; 2 there is no such file; 4 it is of another bundle, altered or by
another key; 5 no trusted signature of the bundle.`,
		Example: `  offk8s provenance --key offk8s.pub kubernetes-1.36.tar
  offk8s provenance --key offk8s.pub --file saved.provenance.json kubernetes-1.36.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBundle(cmd.Context(), o, args, func(b *bundle.Bundle) error {
				envelope, err := readInput(cmp.Or(file, b.Path()+provenanceSuffix))
				if err != nil {
					return withHint(usageError{err}, "pack and sign write it beside the bundle; name it with --file if it is elsewhere")
				}
				if err := isDocument(envelope, cmp.Or(file, b.Path()+provenanceSuffix), "provenance, which pack and sign write beside a bundle"); err != nil {
					return err
				}
				p, err := b.Provenance(envelope)
				if err != nil {
					return err
				}
				return a.result(p, func(w io.Writer) error { return writeDocument(w, p) })
			})
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&file, "file", "", "the envelope (default BUNDLE"+provenanceSuffix+")")
	return cmd
}
