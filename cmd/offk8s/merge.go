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
	"github.com/offk8s/offk8s/bundle/trust"
)

// mergeOptions are the flags of merge.
type mergeOptions struct {
	trust  trustOptions
	signer signerOptions
	output string
	split  splitFlag
}

func (a *app) mergeCommand() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge DELTA BASE… -o BUNDLE",
		Short: "Join a delta with its base, or the parts of a bundle, into the whole bundle",
		Long: `Writes the bundle that pack would have written without --base, the same bytes, after
checking everything that it reads. Of a delta whose base is a delta, name both bases. The
parts of a bundle become one file. BUNDLE may be DELTA, which then stays as it was until the
whole bundle takes its place, but no BASE.

With --split, the bundle is written in parts as pack --split does. Their list is signed by
the key of the bundle, which is --sign-key, or the default signing key.

It leaves BUNDLE.lock.json and BUNDLE.sha256 beside it as pack does, and checks and copies
DELTA.provenance.json, which is of the whole bundle too, if that file is there. Otherwise
only --sign-key writes one.

Exit status: 0 done; 2 the base is missing or another one, or the signing key is not that
of the bundle; 4 a bundle or its provenance is bad; 5 not signed by a known key; 12 wrong
passphrase.`,
		Example: `  offk8s merge --key offk8s.pub delta.tar kubernetes-1.36.tar -o new.tar
  offk8s merge --key offk8s.pub kubernetes-1.36.tar.part-001 -o kubernetes-1.36.tar
  offk8s merge --key offk8s.pub delta.tar old.tar -o new.tar --split 4GiB --sign-key offk8s.key`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output == "" {
				return withHint(usagef("merge: no output file"), "give -o BUNDLE")
			}
			if err := checkOutput(o.output); err != nil {
				return usageError{err}
			}
			for _, base := range args[1:] {
				if replaces(o.output, base) {
					return withHint(usagef("base %q is the output: the whole bundle would take the place of its base", base), "give another -o")
				}
			}
			return a.withBundle(cmd.Context(), o.trust, args, func(b *bundle.Bundle) error { return a.merge(cmd.Context(), b, o) })
		},
	}
	o.trust.flags(cmd)
	o.signer.flagsFor(cmd, "sign-key", "key of the bundle, which signs the list of its parts (default $XDG_CONFIG_HOME/offk8s/offk8s.key)")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "bundle to write")
	cmd.Flags().Var(&o.split, "split", "as pack --split")
	return cmd
}

// merged is the result of merge.
type merged struct {
	Path string `json:"path"` // of the bundle
	Root string `json:"root"` // digest of index.json
	Size int64  `json:"size"` // bytes
	writtenFiles
}

func (a *app) merge(ctx context.Context, b *bundle.Bundle, o mergeOptions) error {
	envelope, err := readProvenance(b)
	if err != nil {
		return err
	}
	split, err := o.split.limit(o.output)
	if err != nil {
		return err
	}
	key, err := a.mergeKey(ctx, b, o.signer, split)
	if err != nil {
		return err
	}
	var sealed bundle.Sealed
	err = a.track("merge "+o.output, func(progress func(done, total int64)) (err error) {
		sealed, err = bundle.Merge(ctx, b, bundle.WriteOptions{Key: key, Output: o.output, Split: split, Progress: progress})
		return err
	})
	if err != nil {
		return err
	}
	if err := writeBeside(o.output, b.Lock(), sealed.Files); err != nil {
		return err
	}
	if err := a.mergeProvenance(b, o.output, envelope, key); err != nil {
		return err
	}
	v := merged{o.output, sealed.Root.String(), sealed.Size(), a.written(sealed.Files)}
	return a.result(v, func(w io.Writer) error { return printLines(w, v.Path, v.Root) })
}

// mergeKey returns the signing key if the bundle becomes parts with a signed list or if a
// flag names one, else nil.
func (a *app) mergeKey(ctx context.Context, b *bundle.Bundle, o signerOptions, split int64) (*trust.KeyPair, error) {
	needed := split > 0 && b.MergedSize() > split && b.HeadFile(bundle.MemberSignature) != nil
	if !needed && o.key == "" && o.exec == "" {
		return nil, nil
	}
	key, err := a.signingKey(ctx, o)
	switch {
	case err == nil && key == nil:
		return nil, withHint(usagef("bundle %q: the list of the parts needs the signing key of the bundle, and there is no %s", b.Path(), o.path()),
			"give --sign-key FILE, or --sign-exec too; or write one file: without --split, and not on FAT if it is larger than 4 GiB")
	case errors.Is(err, fs.ErrNotExist):
		return nil, withHint(err, "name the key file of the key that signed the bundle")
	case errors.Is(err, trust.ErrReplaced):
		return nil, withHint(err, "write the bundle in one file, or pack it again with the new key")
	}
	return key, err
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

// mergeProvenance writes the provenance of b beside output, that in envelope or one that
// key signs, or says why there is none.
func (a *app) mergeProvenance(b *bundle.Bundle, output string, envelope []byte, key *trust.KeyPair) error {
	name := output + provenanceSuffix
	switch {
	case envelope != nil:
		return durable.WriteFile(name, envelope, 0o644)
	case key != nil:
		return writeProvenance(output, b.Lock(), b.Root(), key)
	}
	why := "there is no " + b.Path() + provenanceSuffix
	if _, ok := b.Signer(); !ok {
		why = "no trusted key signed the bundle"
	}
	a.notef("%s is not written: %s", name, why)
	return nil
}
