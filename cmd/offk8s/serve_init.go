package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"
)

// mirrorCA is the result of serve init.
type mirrorCA struct {
	State       string `json:"state"`       // directory
	Fingerprint string `json:"fingerprint"` // of the CA, for mirror.caFingerprint; empty with a certificate of yours
}

// serveInitCommand makes the CA of a mirror before there is a bundle to serve.
func (a *app) serveInitCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the CA of a mirror ahead of the first serve",
		Long: `Makes the CA and a certificate in --state, unless they exist, and prints the
fingerprint for cluster.yaml. Serve with the same --state uses them. The state can be
made on another machine and be carried to the mirror.`,
		Example: `  offk8s serve init --state /var/lib/offk8s-mirror --name mirror.example`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := o.checkNames(); err != nil {
				return err
			}
			own, err := o.mirrorCA(&net.TCPAddr{})
			if err != nil {
				return err
			}
			v := mirrorCA{cmp.Or(o.state, filepath.Join(stateDir(), "mirror")), own.Fingerprint}
			return a.result(v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "state        %s\nfingerprint  %s\n", v.State, v.Fingerprint)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.state, "state", "", "directory of the mirror's CA and certificate (default $XDG_STATE_HOME/offk8s/mirror)")
	f.StringSliceVar(&o.names, "name", nil, "more host names or addresses for the certificate")
	return cmd
}
