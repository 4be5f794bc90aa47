package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// trustOptions are the flags of every command that opens a bundle.
type trustOptions struct {
	keys     []string
	unsigned bool
	fresh    bool
}

func (o *trustOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.keys, "key", nil, "public key to trust (default $XDG_CONFIG_HOME/offk8s/offk8s.pub)")
	cmd.Flags().BoolVar(&o.unsigned, "insecure-allow-unsigned", false, "accept a bundle that nobody signed")
	freshFlag(cmd, &o.fresh)
}

func freshFlag(cmd *cobra.Command, fresh *bool) {
	cmd.Flags().BoolVar(fresh, "require-fresh", false, "refuse a bundle that has expired, instead of a warning")
}

// checkAge warns of an expired bundle, or returns that as an error where a
// fresh one is required.
func (a *app) checkAge(lock *manifests.Lock, require bool) error {
	err := lock.CheckAge(time.Now())
	if err != nil && !require {
		a.say("warning", "%v", err)
		return nil
	}
	return err
}

// publicKeys reads the trusted keys; without --key the user's own is taken if it is there.
func (o trustOptions) publicKeys() ([]trust.PublicKey, error) {
	if len(o.keys) > 0 {
		return readPublicKeys(o.keys)
	}
	keys, err := readPublicKeys([]string{publicPath(defaultKey())})
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // Open says what that means
	}
	return keys, err
}

// open opens the bundle of paths; with none it is looked for.
func (o trustOptions) open(ctx context.Context, paths []string) (*bundle.Bundle, error) {
	paths, err := findBundle(paths)
	if err != nil {
		return nil, err
	}
	keys, err := o.publicKeys()
	if err != nil {
		return nil, err
	}
	for _, name := range paths {
		if _, err := os.Stat(name); err != nil {
			return nil, usagef("bundle: %w", err)
		}
	}
	return bundle.Open(ctx, paths, bundle.OpenOptions{Keys: keys, AllowUnsigned: o.unsigned})
}

func (a *app) verifyCommand() *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "verify [BUNDLE]",
		Short: "Check every byte of a bundle where it lies",
		Long: `Checks the signature over index.json against the public key, and every other byte
against index.json: nothing altered, missing, duplicate or extra passes.

Exit status: 0 good; 4 the bundle or its signature is bad; 5 no signature, no key to check it with,
or expired with --require-fresh.`,
		Example: `  offk8s verify --key offk8s.pub b.tar`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := o.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer b.Close()
			if err := a.checkAge(b.Lock(), o.fresh); err != nil {
				return err
			}
			progress, end := a.newProgress()
			task := progress.Start("verify "+filepath.Base(b.Path()), 0)
			var last int64
			err = b.Verify(cmd.Context(), bundle.VerifyOptions{Progress: func(done, total int64) {
				task.Total(total)
				task.Add(done - last)
				last = done
			}})
			task.Done(err)
			end()
			if err != nil {
				return err
			}
			s, err := bundle.Inspect(b)
			if err != nil {
				return err
			}
			return a.result(s, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s: good\nroot    %s\nsigner  %s\n", b.Path(), s.Root, s.Signer)
				return err
			})
		},
	}
	o.flags(cmd)
	return cmd
}

func (a *app) inspectCommand() *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "inspect [BUNDLE]",
		Short: "List what a bundle holds",
		Long: `Lists what a bundle holds. The signature and the structure are checked before; the
blobs are not hashed (offk8s verify does that).`,
		Example: `  offk8s inspect --key offk8s.pub b.tar
  offk8s inspect --format json b.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := o.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer b.Close()
			if err := a.checkAge(b.Lock(), o.fresh); err != nil {
				return err
			}
			s, err := bundle.Inspect(b)
			if err != nil {
				return err
			}
			return a.result(s, func(w io.Writer) error { return writeSummary(w, s) })
		},
	}
	o.flags(cmd)
	return cmd
}

func writeSummary(w io.Writer, s bundle.Summary) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "name\t%s\nsequence\t%d\ncreated\t%s\nkubernetes\t%s\nroot\t%s\nsigner\t%s\n\n",
		s.Name, s.Sequence, s.Created.Format("2006-01-02 15:04:05 MST"), s.Kubernetes, s.Root, s.Signer)
	fmt.Fprintln(tw, "KIND\tNAME\tVERSION\tFOR\tSIZE\tTRUST\tDIGEST")
	for _, x := range s.Artifacts {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Kind, x.Name, x.Version, target(x.Platform, x.Distro), size(x.Bytes), x.Trust, x.Digest)
	}
	return tw.Flush()
}

func target(platform, distro string) string {
	switch {
	case distro != "" && platform != "":
		return distro + " " + platform
	case distro != "":
		return distro
	case platform != "":
		return platform
	default:
		return "all"
	}
}
