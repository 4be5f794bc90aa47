package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests/strict"
)

func (a *app) whyCommand() *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "why BUNDLE NAME",
		Short: "Say why a package, image or file is in a bundle",
		Long: `Prints the chain of packages that brought NAME into the bundle, with the dependency of
each, up to one that hosts need or that pack.yaml lists. NAME is a package, a program, or
an image with or without its tag, as offk8s inspect prints it. If several packages
require it, the chain is that of the first.`,
		Example: `  offk8s why kubernetes-1.36.tar libseccomp
  offk8s why --format json kubernetes-1.36.tar registry.k8s.io/pause`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !exists(args[0]) && exists(args[1]) {
				return swapped(cmd, args)
			}
			return a.withBundle(cmd.Context(), o, args[:1], func(b *bundle.Bundle) error {
				reasons := bundle.Why(b.Lock(), args[1])
				if len(reasons) == 0 {
					return a.notInBundle(b, args[1])
				}
				return a.result(reasons, func(w io.Writer) error { return writeReasons(w, reasons) })
			})
		},
	}
	o.flags(cmd)
	return cmd
}

// swapped is the error of a command whose second argument is the bundle.
func swapped(cmd *cobra.Command, args []string) error {
	_, want, _ := strings.Cut(cmd.Use, " ")
	return usagef("%s: %q is no file and %q is one: want %s", cmd.CommandPath(), args[0], args[1], want)
}

func writeReasons(w io.Writer, reasons []bundle.Reason) error {
	for _, r := range reasons {
		fmt.Fprintf(w, "%s %s (%s)\n", r.Name, r.Version, target(r.Platform, r.Distro))
		for _, l := range r.Chain {
			fmt.Fprintf(w, "  required by %s %s, which depends on %s\n", l.Name, l.Version, l.Requirement)
		}
		if _, err := fmt.Fprintf(w, "  %s\n", r.Because); err != nil {
			return err
		}
	}
	return nil
}

// notInBundle is the error for a name that the bundle lacks, with the nearest ones.
func (a *app) notInBundle(b *bundle.Bundle, name string) error {
	var names []string
	for _, x := range b.Lock().Artifacts {
		names = append(names, x.Name)
	}
	err := usagef("bundle %q has no package, image or file %q", b.Path(), name)
	if best, ok := strict.Nearest(name, names); ok {
		return withHint(err, "did you mean %s?", best)
	}
	return withHint(err, "offk8s inspect --name '*%s*' lists those with similar names", strings.Trim(name, "*'"))
}

func (a *app) diffCommand() *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Compare two bundles",
		Long: `Prints the versions that differ between two bundles, the artifacts that were added and
removed, and how many bytes of the second the first lacks. Both bundles must be signed by a
known key.`,
		Example: `  offk8s diff --key offk8s.pub kubernetes-1.35.tar kubernetes-1.36.tar
  offk8s diff --format json old.tar new.tar`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBundle(cmd.Context(), o, args[:1], func(from *bundle.Bundle) error {
				return a.withBundle(cmd.Context(), o, args[1:], func(to *bundle.Bundle) error {
					d := bundle.Diff(from, to)
					return a.result(d, func(w io.Writer) error { return writeDiff(w, d) })
				})
			})
		},
	}
	o.flags(cmd)
	return cmd
}

func writeDiff(w io.Writer, d bundle.Difference) error {
	var b strings.Builder
	for _, c := range d.Components {
		switch {
		case c.From == "":
			fmt.Fprintf(&b, "+ %s %s\n", c.Name, c.To)
		case c.To == "":
			fmt.Fprintf(&b, "- %s %s\n", c.Name, c.From)
		default:
			fmt.Fprintf(&b, "  %s %s -> %s\n", c.Name, c.From, c.To)
		}
	}
	for _, part := range []struct {
		sign string
		list []bundle.Change
	}{{" ", d.Changed}, {"+", d.Added}, {"-", d.Removed}} {
		for _, c := range part.list {
			version := c.From + c.To
			if c.From != "" && c.To != "" {
				version = c.From + " -> " + c.To
			}
			fmt.Fprintf(&b, "%s %s %s %s", part.sign, c.Kind, c.Name, version)
			if c.For != "" {
				fmt.Fprintf(&b, " (%s)", c.For)
			}
			b.WriteString("\n")
		}
	}
	fmt.Fprintf(&b, "%d changed, %d added, %d removed; new: %s, %s of %s\n", len(d.Changed), len(d.Added), len(d.Removed),
		count(d.NewBlobs, "blob"), bundle.FormatSize(d.NewBytes), bundle.FormatSize(d.Bytes))
	_, err := io.WriteString(w, b.String())
	return err
}
