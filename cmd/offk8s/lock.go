package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/durable"
)

func (a *app) lockCommand() *cobra.Command {
	var o packOptions
	cmd := &cobra.Command{
		Use:   "lock --version VERSION",
		Short: "Write the exact list of artifacts that pack would pack",
		Long: `Resolves a Kubernetes version as pack does and writes the Lock, for review: every artifact
with its version, source, digest and the evidence for it, and for packages what requires
them. pack --lock FILE packs exactly that. A diff of two Locks shows what has changed.

A Lock has no keys of images, and lock looks at no signature of theirs: pack does, after its
downloads, with the same --image-key or -f pack.yaml.

Exit status: 0 done; 2 usage or configuration; 4 the metadata of a repository does not
match its signature; 5 refused by --require; 11 cache in use.`,
		Example: `  offk8s lock --version 1.36 -o kubernetes-1.36.lock.json
  offk8s lock -f pack.yaml --require pinned -o -
  offk8s lock -f pack.yaml --require signed --image-key registry.example.com=cosign.pub
  offk8s pack --lock kubernetes-1.36.lock.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return packError(a.lock(cmd.Context(), o)) },
	}
	o.parallel = 1 // unused
	o.contentFlags(cmd)
	cmd.Flags().Lookup("image-key").Usage = "PREFIX=FILE: for --require signed, images that begin with PREFIX have a key; pack, with the same flag, checks their signatures"
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "file to write, - for stdout (default ./NAME.lock.json)")
	return cmd
}

// writtenLock is the result of lock.
type writtenLock struct {
	Path      string `json:"path"`      // file
	Artifacts int    `json:"artifacts"` // how many it lists
}

func (a *app) lock(ctx context.Context, o packOptions) error {
	src, err := a.openSources(o)
	if err != nil {
		return err
	}
	defer src.end()
	lock, err := src.lock(ctx, o)
	if err != nil {
		return err
	}
	defer src.store.Close()
	output := o.output
	switch output {
	case "-":
		_, err := a.stdout.Write(lock.Encode())
		return err
	case "":
		output = lock.Name + ".lock.json"
	}
	if err := durable.WriteFile(output, lock.Encode(), 0o644); err != nil {
		return err
	}
	v := writtenLock{output, len(lock.Artifacts)}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s\n%s\n", output, count(v.Artifacts, "artifact"))
		return err
	})
}
