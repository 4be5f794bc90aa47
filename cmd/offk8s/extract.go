package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
)

// Forms of an image that extract writes.
const (
	formArchive = "oci-archive"
	formDir     = "dir"
)

var imageForms = []string{formArchive, formDir}

func (a *app) extractCommand() *cobra.Command {
	var o trustOptions
	var f filter
	dir, form := ".", formArchive
	cmd := &cobra.Command{
		Use:   "extract [BUNDLE [BASE…]]",
		Short: "Write contents of a bundle to a directory",
		Long: `Writes files, packages and images of a bundle to the directory --output, after checking
the signature and every byte that it writes. Files and packages keep their path on the
mirror (offk8s inspect --wide); an image becomes an OCI archive, which skopeo copies
from oci-archive:FILE and containerd reads with ctr images import. skopeo refuses older
images in it, whose media types are Docker's: with --image-form dir an image of any kind
becomes a directory, which skopeo copies from dir:DIRECTORY with the same digest. Without
--kind and --name it writes everything.

Exit status: 0 done; 2 nothing matches; 4 the bundle is bad; 5 not signed by a known key.`,
		Example: `  offk8s extract --key offk8s.pub --name kubectl -o /tmp/k kubernetes-1.36.tar
  offk8s extract --kind image --name '*/coredns:*' kubernetes-1.36.tar
  offk8s extract --kind image --image-form dir -o images kubernetes-1.16.tar`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if !slices.Contains(imageForms, form) {
				return usagef("--image-form %q: want %s", form, strings.Join(imageForms, " or "))
			}
			return a.withBundle(cmd.Context(), o, args, func(b *bundle.Bundle) error {
				written, err := a.extract(cmd, b, f, dir, form)
				if err != nil {
					return err
				}
				if len(written) == 0 {
					return f.nothing(b)
				}
				return a.result(written, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, strings.Join(written, "\n"))
					return err
				})
			})
		},
	}
	o.flags(cmd)
	f.flags(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", ".", "directory to write to; it is created")
	cmd.Flags().StringVar(&form, "image-form", formArchive, strings.Join(imageForms, " or ")+", for images")
	_ = cmd.RegisterFlagCompletionFunc("image-form", cobra.FixedCompletions(imageForms, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// extract writes the chosen content below dir and returns the paths there.
func (a *app) extract(cmd *cobra.Command, b *bundle.Bundle, f filter, dir, form string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	artifacts := map[string]manifests.Artifact{}
	for _, x := range b.Lock().Artifacts {
		artifacts[x.Group+"/"+x.Path] = x
	}
	var written []string
	for _, file := range b.Files() {
		x := artifacts[file.Label()]
		kind := string(x.Kind)
		if kind == "" {
			kind = bundle.KindMetadata
		}
		if !f.matches(kind, x.Name, file.Label()) {
			continue
		}
		if err := b.ExtractFile(cmd.Context(), root, file, fs.FileMode(x.Mode)); err != nil {
			return nil, err
		}
		written = append(written, file.Label())
	}
	for _, image := range b.Images() {
		if !f.matches(string(manifests.KindImage), image.Name) {
			continue
		}
		write := b.ExtractImage
		if form == formDir {
			write = b.ExtractImageDir
		}
		name, err := write(cmd.Context(), root, image)
		if err != nil {
			return nil, err
		}
		written = append(written, name)
	}
	return written, nil
}
