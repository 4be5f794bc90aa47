package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/bundle"
)

func (a *app) inspectCommand() *cobra.Command {
	var o trustOptions
	var f filter
	wide := false
	cmd := &cobra.Command{
		Use:   "inspect [BUNDLE [BASE…]]",
		Short: "List the contents of a bundle",
		Long: `Lists the contents of a bundle after checking its signature and structure. It does
not hash the blobs; offk8s verify does. The last line has the totals. Lines are cut to
the width of the terminal; --wide has whole digests, and the paths on the mirror.

Exit status: 0 done; 2 nothing matches --kind and --name; 4 the bundle is bad; 5 not signed
by a known key.`,
		Example: `  offk8s inspect --key offk8s.pub kubernetes-1.36.tar
  offk8s inspect --kind image,file kubernetes-1.36.tar
  offk8s inspect --name '*coredns*' --wide kubernetes-1.36.tar
  offk8s inspect --format json kubernetes-1.36.tar`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.withBundle(cmd.Context(), o, args, func(b *bundle.Bundle) error {
				s, err := bundle.Inspect(b)
				if err != nil {
					return err
				}
				if err := f.apply(b, &s); err != nil {
					return err
				}
				return a.result(s, func(w io.Writer) error {
					var text strings.Builder
					if err := writeSummary(&text, s, signerOf(b), wide); err != nil {
						return err
					}
					return writeCut(w, text.String(), wide)
				})
			})
		},
	}
	o.flags(cmd)
	f.flags(cmd)
	cmd.Flags().BoolVar(&wide, "wide", false, "whole lines, with full digests and paths")
	return cmd
}

func writeSummary(w io.Writer, s bundle.Listing, signer string, wide bool) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "name\t%s\nsequence\t%d\ncreated\t%s\nkubernetes\t%s\nroot\t%s\nsigner\t%s\n",
		s.Name, s.Sequence, s.Created.Format("2006-01-02 15:04:05 MST"), s.Kubernetes, s.Root, signer)
	if s.AssumeInstalled != "" {
		fmt.Fprintf(tw, "assumes\t%s installation of %s\n", s.AssumeInstalled, strings.Join(s.Distros, ", "))
	}
	if s.Base != nil {
		fmt.Fprintf(tw, "base\t%s\n", s.Base)
	}
	fmt.Fprint(tw, "\nKIND\tNAME\tVERSION\tFOR\tSIZE\tTRUST\tDIGEST")
	if wide {
		fmt.Fprint(tw, "\tPATH")
	}
	fmt.Fprintln(tw)
	for _, x := range s.Artifacts {
		digest, path := x.Digest.String(), ""
		if wide {
			path = "\t" + x.Path
		} else if i := strings.Index(digest, ":"); len(digest) > i+shownDigits {
			digest = digest[:i+1+shownDigits]
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s%s\n", x.Kind, x.Name, x.Version, target(x.Platform, x.Distro), bundle.FormatSize(x.Bytes), x.Trust, digest, path)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s: %s; bundle: %s, %s\n", count(len(s.Artifacts), "artifact"), totals(s.Kinds), count(s.Blobs, "blob"), bundle.FormatSize(s.Bytes))
	return err
}

// shownDigits are the digits of a digest that inspect prints without --wide.
const shownDigits = 12

// writeCut writes text; on a terminal its lines are cut to the width, unless wide is
// set.
func writeCut(w io.Writer, text string, wide bool) error {
	width := 0
	if o, ok := w.(*checkedOutput); ok && !wide {
		if columns, _, err := term.GetSize(int(o.file.Fd())); err == nil {
			width = columns
		}
	}
	for line := range strings.Lines(text) {
		if _, err := fmt.Fprintln(w, oneLine(strings.TrimSuffix(line, "\n"), width)); err != nil {
			return err
		}
	}
	return nil
}

// target names the hosts that an artifact is for.
func target(platform, distro string) string {
	return cmp.Or(strings.TrimSpace(distro+" "+platform), "all")
}
