package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
)

func (a *app) inspectCommand() *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "inspect [BUNDLE]",
		Short: "List the contents of a bundle",
		Long: `Lists the contents of a bundle after checking its signature and structure. It does
not hash the blobs; offk8s verify does.`,
		Example: `  offk8s inspect --key offk8s.pub b.tar
  offk8s inspect --format json b.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.openBundle(cmd.Context(), o, args)
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
			return a.result(s, func(w io.Writer) error { return writeSummary(w, s, signerOf(b)) })
		},
	}
	o.flags(cmd)
	return cmd
}

func writeSummary(w io.Writer, s bundle.Summary, signer string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "name\t%s\nsequence\t%d\ncreated\t%s\nkubernetes\t%s\nroot\t%s\nsigner\t%s\n\n",
		s.Name, s.Sequence, s.Created.Format("2006-01-02 15:04:05 MST"), s.Kubernetes, s.Root, signer)
	fmt.Fprintln(tw, "KIND\tNAME\tVERSION\tFOR\tSIZE\tTRUST\tDIGEST")
	for _, x := range s.Artifacts {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Kind, x.Name, x.Version, target(x.Platform, x.Distro), bundle.FormatSize(x.Bytes), x.Trust, x.Digest)
	}
	return tw.Flush()
}

// target names the hosts that an artifact is for.
func target(platform, distro string) string {
	return cmp.Or(strings.TrimSpace(distro+" "+platform), "all")
}
