package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
)

func (a *app) verifyCommand() *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "verify [BUNDLE]",
		Short: "Check every byte of a bundle in place",
		Long: `Checks the signature over index.json against the public key, and every other byte
against index.json: nothing altered, missing, duplicate or extra passes.

Exit status: 0 good; 4 the bundle or its signature is bad; 5 no signature, no key to
check it with, or expired (with --require-fresh).`,
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
