package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/trust"
)

// signOptions are the flags of sign.
type signOptions struct {
	signer signerOptions
	output string
	split  splitFlag
}

func (a *app) signCommand() *cobra.Command {
	var o signOptions
	cmd := &cobra.Command{
		Use:   "sign [BUNDLE [BASE…]]",
		Short: "Sign a bundle that pack --unsigned wrote",
		Long: `Signs a bundle and the package repositories in it, so that the packing machine needs no
signing key. The result has the same bytes as if pack had signed it with this key. Bytes
of the bundle that do not belong together are refused, but only you can tell whether it
is the one that was packed: compare its root with the one that pack printed, and look at
its content with offk8s inspect or offk8s diff, before you sign it.

Parts are signed as parts. Name the base of a delta after it if sign asks for it: it does
when both have the same package repositories.

Exit status: 0 done; 2 usage, the bundle is signed already, the key is newer than the
bundle, or the base of a delta is missing; 4 the bundle is bad; 12 wrong passphrase.`,
		Example: `  offk8s pack --version 1.36 --unsigned             # on the machine with the internet
  offk8s inspect --insecure-allow-unsigned kubernetes-1.36.tar
  offk8s sign --key offk8s.key kubernetes-1.36.tar  # on the machine with the key`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.sign(cmd.Context(), o, args) },
	}
	o.signer.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "bundle to write (default: BUNDLE is replaced)")
	f.Var(&o.split, "split", "as pack --split; auto: the size of BUNDLE's parts, or what the file system allows")
	return cmd
}

func (a *app) sign(ctx context.Context, o signOptions, args []string) (err error) {
	paths, err := findBundle(args)
	if err != nil {
		return err
	}
	key, err := a.presentKey(ctx, o.signer)
	if err != nil {
		return err
	}
	b, err := bundle.Open(ctx, paths, bundle.OpenOptions{AllowUnsigned: true})
	if err != nil {
		return explainOpen(err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := checkKeyTime(key, b.Lock()); err != nil {
		return withHint(err, "sign it with an older key, or pack it again")
	}
	if o.output == "" {
		o.output = b.Path()
	}
	split := b.PartSize()
	if split == 0 || o.split > 0 {
		if split, err = o.split.limit(o.output); err != nil {
			return err
		}
	}
	var sealed bundle.Sealed
	err = a.track("sign "+o.output, func(progress func(done, total int64)) (err error) {
		sealed, err = bundle.Sign(ctx, b, bundle.WriteOptions{Key: key, Output: o.output, Split: split, Progress: progress})
		return err
	})
	if err != nil {
		return err
	}
	if err := writeSums(o.output, sealed.Files); err != nil {
		return err
	}
	if err := writeProvenance(o.output, b.Lock(), sealed.Root, key); err != nil {
		return err
	}
	return a.printSigned(o.output, b, sealed, key)
}

// signed is the result of sign.
type signed struct {
	Path        string              `json:"path"`        // of the bundle
	Unsigned    string              `json:"unsigned"`    // root of the bundle that was signed
	Root        string              `json:"root"`        // digest of index.json now
	Files       []bundle.SealedFile `json:"files"`       // the bundle, or its parts and the list of them
	Fingerprint string              `json:"fingerprint"` // of the key
}

func (a *app) printSigned(path string, unsigned *bundle.Bundle, sealed bundle.Sealed, key *trust.KeyPair) error {
	v := signed{path, unsigned.Root().String(), sealed.Root.String(), sealed.Files, key.Fingerprint()}
	a.notef("the bundle had the root %s before, which pack printed", v.Unsigned)
	return a.result(v, func(w io.Writer) error { return printLines(w, v.Path, v.Root) })
}
