package main

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/registry"
)

// registryOptions are the flags of commands that use a registry.
type registryOptions struct {
	ca        string
	plainHTTP bool
}

// options reads the files of the flags.
func (o registryOptions) options() (registry.Options, error) {
	out := registry.Options{PlainHTTP: o.plainHTTP}
	if o.ca == "" {
		return out, nil
	}
	var err error
	out.CA, err = readInput(o.ca)
	return out, asUsage(err)
}

func (a *app) pushCommand() *cobra.Command {
	var trust trustOptions
	var reg registryOptions
	var jobs int
	cmd := &cobra.Command{
		Use:   "push BUNDLE REGISTRY/PREFIX",
		Short: "Push a bundle into an existing registry",
		Long: `Pushes a bundle into a registry (Harbor, zot, distribution …): every member of the
tarball into PREFIX/bundle, from which offk8s serve --from serves it, and the images
under their names, PREFIX/registry.k8s.io/pause:3.9.

The signature is checked first, and each blob against its digest while it is sent. What
the registry has already is not sent again, so the same command continues after an
interruption. The tag latest is set last.

Credentials are those of docker login and podman login. TLS is required except for a
registry on this machine.

Exit status: 0 pushed; 4 the bundle is bad; 5 it is not signed by a known key.`,
		Example: `  offk8s push --key offk8s.pub kubernetes-1.36.tar harbor.example/offk8s
  offk8s push --key offk8s.pub --ca registry-ca.crt kubernetes-1.36.tar \
    10.0.0.9:5000/site-a`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !exists(args[0]) && exists(args[1]) {
				return swapped(cmd, args)
			}
			o := registry.PushOptions{}
			var err error
			if o.Options, err = reg.options(); err != nil {
				return err
			}
			if jobs < 1 {
				return usagef("--jobs %d: want 1 or more", jobs)
			}
			o.Jobs = jobs
			b, err := a.openBundle(cmd.Context(), trust, args[:1])
			if err != nil {
				return err
			}
			defer b.Close()
			if err := b.Whole(); err != nil {
				return withHint(err, "push the whole bundle: offk8s merge DELTA BASE -o WHOLE joins them")
			}
			if err := a.checkAge(b.Lock(), trust.fresh); err != nil {
				return err
			}
			var p *registry.Pushed
			err = a.track("push "+filepath.Base(b.Path()), func(progress func(done, total int64)) (err error) {
				o.Progress = progress
				p, err = registry.Push(cmd.Context(), b, args[1], o)
				return err
			})
			if as[*net.OpError](err) {
				err = withHint(err, "check that the registry runs, and its address")
			}
			if err != nil {
				return err
			}
			return a.result(p, func(w io.Writer) error { return printPushed(w, p, args[1]) })
		},
	}
	trust.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&reg.ca, "ca", "", "authority (PEM) that issued the certificate of the registry, beside those of the system")
	f.BoolVar(&reg.plainHTTP, "insecure-plain-http", false, "accept a registry without TLS")
	f.IntVar(&jobs, "jobs", 4, "blobs to send at a time")
	return cmd
}

func printPushed(w io.Writer, p *registry.Pushed, address string) error {
	reduced := 0
	for _, i := range p.Images {
		if i.Reduced {
			reduced++
		}
	}
	_, err := fmt.Fprintf(w, "bundle  %s\nroot    %s\nimages  %d\nsent    %s of %s, %d of %d blobs\n",
		p.Reference, p.Root, len(p.Images), bundle.FormatSize(p.SentBytes), bundle.FormatSize(p.Bytes), p.Sent, p.Blobs)
	if err == nil && reduced > 0 {
		_, err = fmt.Fprintf(w, "        %d images have an index without the platforms that the bundle leaves out: the registry refuses the original, which serve --from has\n", reduced)
	}
	if err == nil {
		address = strings.TrimSuffix(strings.TrimPrefix(address, registry.Scheme), "/")
		_, err = fmt.Fprintf(w, "\noffk8s serve --key offk8s.pub --from %s%s\n", registry.Scheme, address)
	}
	return err
}
