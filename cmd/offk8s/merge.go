package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
)

func (a *app) mergeCommand() *cobra.Command {
	var o trustOptions
	output := ""
	cmd := &cobra.Command{
		Use:   "merge DELTA BASE… -o BUNDLE",
		Short: "Join a delta with its base, or the parts of a bundle, into one file",
		Long: `Writes the bundle that pack would have written without --base, the same bytes, after
checking everything that it reads. Of a delta whose base is a delta, name both bases. The
parts of a bundle become one file.

It leaves BUNDLE.lock.json and BUNDLE.sha256 beside it as pack does, and checks and copies
DELTA.provenance.json, which is of the whole bundle too, if that file is there.

Exit status: 0 done; 2 the base is missing or another one; 4 a bundle or its provenance is
bad; 5 not signed by a known key.`,
		Example: `  offk8s merge --key offk8s.pub delta.tar kubernetes-1.36.tar -o new.tar
  offk8s merge --key offk8s.pub kubernetes-1.36.tar.part-001 -o kubernetes-1.36.tar`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return withHint(usagef("merge: no output file"), "give -o BUNDLE")
			}
			return a.withBundle(cmd.Context(), o, args, func(b *bundle.Bundle) error { return a.merge(cmd.Context(), b, output) })
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "bundle to write")
	return cmd
}

func (a *app) merge(ctx context.Context, b *bundle.Bundle, output string) error {
	envelope, err := readProvenance(b)
	if err != nil {
		return err
	}
	var sealed bundle.Sealed
	err = a.track("merge "+output, func(progress func(done, total int64)) (err error) {
		sealed, err = bundle.Merge(ctx, b, output, progress)
		return err
	})
	if err != nil {
		return err
	}
	if err := writeBeside(output, b.Lock(), sealed.Files); err != nil {
		return err
	}
	if err := a.mergeProvenance(b, output, envelope); err != nil {
		return err
	}
	v := struct {
		Path   string `json:"path"`
		Root   string `json:"root"`
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	}{output, sealed.Root.String(), sealed.Files[0].Size, sealed.Files[0].Digest.Encoded()}
	return a.result(v, func(w io.Writer) error { return printLines(w, v.Path, v.Root) })
}

// readProvenance returns the provenance beside b after checking it: that of a delta or of
// parts is that of the whole bundle. It returns nil if there is none, or no trusted key
// for it.
func readProvenance(b *bundle.Bundle) ([]byte, error) {
	name := b.Path() + provenanceSuffix
	if _, ok := b.Signer(); !ok {
		return nil, nil
	}
	envelope, err := readInput(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if _, err := b.Provenance(envelope); err != nil {
		return nil, withHint(fmt.Errorf("%q: %w", name, err), "copy it again from the source, or move it away to merge without it")
	}
	return envelope, nil
}

// mergeProvenance writes the provenance of b beside output, or says why there is none.
func (a *app) mergeProvenance(b *bundle.Bundle, output string, envelope []byte) error {
	name := output + provenanceSuffix
	if envelope != nil {
		return durable.WriteFile(name, envelope, 0o644)
	}
	why := "there is no " + b.Path() + provenanceSuffix
	if _, ok := b.Signer(); !ok {
		why = "no trusted key signed the bundle"
	}
	a.notef("%s is not written: %s", name, why)
	return nil
}
