package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/mirror"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	trust     trustOptions
	content   bool
	scan      scanOptions
	imageKeys []string
}

func (a *app) verifyCommand() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [BUNDLE [BASE…]]",
		Short: "Check every byte of a bundle in place",
		Long: `Checks the signature over index.json against the public key, and every other byte
against index.json: nothing altered, missing, duplicate or extra passes. Programs that
are stored compressed are hashed as they are stored, which index.json covers; --content
decodes them too. A bundle that offk8s serve would not start with does not pass either.
Of a bundle in parts, name any part, or the bundle without a suffix; a part that is
missing, damaged or of another bundle is named. A delta is verified with its base: name
it, too.

--key takes the public key, or its fingerprint: the key itself is in the bundle then.
With --image-key, the images that begin with PREFIX must have a signature by that key
among the attachments in the bundle, as cosign sign --key makes it: no network is needed,
and no transparency log is asked. The longest prefix that fits an image counts; of several
keys with it one is enough.

With --scan-exec, a program of yours looks at the bundle when all is checked, such as a
scanner with newer data than at pack.

With --insecure-allow-unsigned and no key, the result is "intact" instead of "good":
the bytes belong together, but nothing shows who packed them.

Exit status: 0 good; 2 the base of a delta is missing; 4 the bundle or its signature is bad;
5 no signature of the bundle or of an image, no key to check it with, expired (with
--require-fresh), or refused by the program of --scan-exec.`,
		Example: `  offk8s verify --key offk8s.pub kubernetes-1.36.tar
  offk8s verify --key offk8s.pub kubernetes-1.36.tar.part-001
  offk8s verify --key offk8s.pub delta.tar kubernetes-1.36.tar
  offk8s verify --key offk8s.pub kubernetes-1.36.tar \
    --image-key registry.example.com/team=cosign.pub
  offk8s verify --key offk8s.pub --scan-exec ./scan.sh kubernetes-1.36.tar
  offk8s verify kubernetes-1.36.tar \
    --key sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.verify(cmd.Context(), o, args) },
	}
	o.trust.flags(cmd)
	imageKeyFlag(cmd, &o.imageKeys)
	o.scan.flags(cmd)
	cmd.Flags().BoolVar(&o.content, "content", false, "decode compressed files too, and check their content (takes several times as long)")
	return cmd
}

func (a *app) verify(ctx context.Context, o verifyOptions, args []string) error {
	list, err := parseImageKeys(o.imageKeys)
	if err != nil {
		return usageError{err}
	}
	signers, err := imageSigners(list)
	if err != nil {
		return err
	}
	if err := o.scan.check(); err != nil {
		return usageError{err}
	}
	paths, err := findBundle(args)
	if err != nil {
		return err
	}
	return a.withBundle(ctx, o.trust, paths, func(b *bundle.Bundle) error {
		if err := a.verifyBundle(ctx, b, o.content, signers); err != nil {
			return err
		}
		if o.scan.path != "" {
			if err := o.scan.scan(ctx, b, paths, a.stderr); err != nil {
				return err
			}
		}
		return a.printVerified(b)
	})
}

// verifyBundle checks every byte of b, the signatures of its images, and that a mirror would
// start with it.
func (a *app) verifyBundle(ctx context.Context, b *bundle.Bundle, content bool, signers []bundle.ImageSigner) error {
	if err := b.Whole(); err != nil {
		return err
	}
	err := a.track("verify "+filepath.Base(b.Path()), func(progress func(done, total int64)) error {
		return b.Verify(ctx, bundle.VerifyOptions{Progress: progress, Content: content})
	})
	if err != nil {
		return err
	}
	if err := b.VerifyImages(signers); err != nil {
		return err
	}
	m, err := newMirror([]*bundle.Bundle{b}, mirror.Options{})
	if err != nil {
		return err
	}
	m.Close()
	return nil
}

func (a *app) printVerified(b *bundle.Bundle) error {
	s, err := bundle.Inspect(b)
	if err != nil {
		return err
	}
	return a.result(s.Summary, func(w io.Writer) error {
		verdict := "good"
		if !s.SignatureChecked {
			verdict = "intact; " + unchecked(s.Signed, "")
		}
		_, err := fmt.Fprintf(w, "%s: %s\nroot    %s\nsigner  %s\n", b.Path(), verdict, s.Root, signerOf(b))
		return err
	})
}
