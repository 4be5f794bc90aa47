package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

func (a *app) stateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Export, import and show the CAs and keys of a cluster",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(a.stateExportCommand(), a.stateImportCommand(), a.stateShowCommand())
	return cmd
}

func (a *app) stateExportCommand() *cobra.Command {
	var o clusterOptions
	var pass passphrase
	output := ""
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the state of a cluster into one sealed file",
		Long: `Writes everything in the directory --state that cannot be made again, and all
certificates, into one file (mode 0600), encrypted with a passphrase: for a backup, or for
another machine (offk8s state import). Logs, the kubeconfig and the bootstrap token, which
install makes again, are not in it.

Exit status: 0 done; 2 usage, or no state there; 4 the state is damaged; 11 an install
uses it.`,
		Example: `  offk8s state export -o /media/usb/site-a.state`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.stateExport(o, output, pass) },
	}
	o.fileFlag(cmd)
	o.stateFlag(cmd)
	pass.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write (default NAME.state)")
	return cmd
}

// exportedState is the result of state export.
type exportedState struct {
	File string `json:"file"`
	pki.StateHeader
}

func (a *app) stateExport(o clusterOptions, output string, pass passphrase) error {
	c, found, err := o.loadWithState()
	if err != nil {
		return err
	}
	unlock, err := installer.LockState(found.dir)
	if err != nil {
		return err
	}
	defer unlock()
	state, err := pki.ReadState(found.dir, c.Name)
	if err != nil {
		return err
	}
	secret, err := pass.read(a, fmt.Sprintf("passphrase for the state of %q: ", c.Name), true)
	if err != nil {
		return err
	}
	if len(secret) == 0 {
		return usagef("the passphrase is empty")
	}
	sealed, err := state.Seal(secret)
	if err != nil {
		return err
	}
	output = cmp.Or(output, c.Name+".state")
	if err := durable.WriteFile(output, sealed, 0o600); err != nil {
		return err
	}
	v := exportedState{output, state.StateHeader}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "file      %s\ncluster   %s\nidentity  %s\n", v.File, v.Cluster, v.Identity)
		return err
	})
}

func (a *app) stateImportCommand() *cobra.Command {
	var o clusterOptions
	var pass passphrase
	from := ""
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Bring the state of a cluster to this machine",
		Long: `Opens a file of offk8s state export, or with --from HOST the sealed copy on a control
plane (install --state-passphrase-file makes them), checks that everything in it fits
together, and writes it into the directory --state. What the directory lacks comes back,
what it has newer stays; the state of another cluster is never replaced.

Exit status: 0 done; 2 usage; 4 the file is damaged; 5 the directory has another cluster's
state; 11 an install uses it; 12 wrong passphrase.`,
		Example: `  offk8s state import /media/usb/site-a.state
  offk8s state import --from cp-1 -f cluster.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (from == "") == (len(args) == 0) {
				return withHint(usagef("state import: want a file or --from HOST"), "offk8s state import --help")
			}
			sealed, err := a.sealedState(cmd.Context(), o, from, args)
			if err == nil && from == "" {
				err = isDocument(sealed, args[0], "sealed state, which offk8s state export writes")
			}
			if err != nil {
				return err
			}
			return a.stateImport(o, sealed, from != "", pass)
		},
	}
	o.fileFlag(cmd)
	o.stateFlag(cmd)
	pass.flags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "control plane in cluster.yaml whose sealed copy to fetch")
	o.loginFlags(cmd)
	return cmd
}

// sealedState reads a sealed state from a file or from a host.
func (a *app) sealedState(ctx context.Context, o clusterOptions, from string, args []string) ([]byte, error) {
	if from == "" {
		b, err := reader.ReadFile(args[0], pki.MaxSealed)
		return b, asUsage(err)
	}
	c, err := o.load()
	if err != nil {
		return nil, err
	}
	c.SetDefaults(catalog.Release{}) // only the SSH settings are needed
	planes := c.HostsWith(manifests.RoleControlPlane)
	i := slices.IndexFunc(planes, func(h manifests.Host) bool { return h.Name == from })
	if i < 0 {
		return nil, usagef("--from %q: the cluster %q has no such control plane, want one of %s", from, c.Name, strings.Join(namesOf(planes), ", "))
	}
	conn, err := a.dial(ctx, o, c, planes[i])
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	out, err := host.Output(ctx, conn, "head", "-c", fmt.Sprint(pki.MaxSealed+1), "--", stage.StateCopy)
	if err == nil && len(out) > pki.MaxSealed {
		err = fmt.Errorf("%q has more than %d bytes", stage.StateCopy, pki.MaxSealed)
	}
	if err != nil {
		return nil, withHint(fmt.Errorf("host %s: %w", from, err),
			"install --state-passphrase-file makes the copies; without them, use offk8s state export on the machine that installed the cluster")
	}
	return []byte(out), nil
}

// importedState is the result of state import.
type importedState struct {
	Directory string   `json:"directory"`
	Changed   []string `json:"changed"` // names of files
	pki.StateHeader
}

// stateImport writes a sealed state into its directory. isCopy reports that it is the copy
// on the control planes.
func (a *app) stateImport(o clusterOptions, b []byte, isCopy bool, pass passphrase) error {
	sealed, err := pki.ParseSealed(b)
	if err != nil {
		return err
	}
	if !strict.IsDNSLabel(sealed.Cluster) {
		return fmt.Errorf("%w: cluster %q", pki.ErrDamaged, sealed.Cluster)
	}
	dir := o.importDir(sealed.StateHeader)
	secret, err := pass.read(a, fmt.Sprintf("passphrase of the state of %q: ", sealed.Cluster), false)
	if err != nil {
		return err
	}
	state, err := sealed.Open(secret)
	if err != nil {
		return err
	}
	if isCopy {
		state.Copy = b
	}
	unlock, err := installer.LockState(dir)
	if err != nil {
		return err
	}
	defer unlock()
	changed, err := state.Write(dir)
	if err != nil {
		return err
	}
	v := importedState{dir, changed, state.StateHeader}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "directory  %s\ncluster    %s\nidentity   %s\nchanged: %d files\n", v.Directory, v.Cluster, v.Identity, len(v.Changed))
		return err
	})
}

// importDir returns the directory for a state: the one that has it already, or NAME.
func (o clusterOptions) importDir(h pki.StateHeader) string {
	dirs := stateDirs(stateDir(), h.Cluster)
	if o.state != "" {
		dirs = []string{o.state}
	}
	for _, dir := range dirs {
		if s, err := pki.ReadState(dir, h.Cluster); err == nil && s.Identity == h.Identity {
			return dir
		}
	}
	return dirs[0]
}

func (a *app) stateShowCommand() *cobra.Command {
	var o clusterOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Describe the state of a cluster on this machine",
		Long: `Prints the identity of the cluster, which the hosts compare, the ends of its
authorities and certificates, and whether the control planes have a sealed copy. It prints
no secrets and does not connect to the hosts.

Exit status: 0 done; 2 usage, or no state there; 4 the state is damaged.`,
		Example: `  offk8s state show --format json`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.stateShow(o) },
	}
	o.fileFlag(cmd)
	o.stateFlag(cmd)
	return cmd
}

// shownState is the result of state show.
type shownState struct {
	Cluster   string `json:"cluster"`
	Directory string `json:"directory"`
	pki.Summary
	// CopyFile is the path of the copy on the hosts Copies.
	CopyFile string   `json:"copyFile,omitempty"`
	Copies   []string `json:"copies,omitempty"`
}

func (a *app) stateShow(o clusterOptions) error {
	c, found, err := o.loadWithState()
	if err != nil {
		return err
	}
	v := shownState{Cluster: c.Name, Directory: found.dir}
	if v.Summary, err = found.credentials.Summary(c.Name); err != nil {
		return err
	}
	copies := "none"
	if v.Copy != pki.CopyNone {
		v.CopyFile = stage.StateCopy
		for _, h := range c.HostsWith(manifests.RoleControlPlane) {
			v.Copies = append(v.Copies, h.Name)
		}
		copies = fmt.Sprintf("%s, %s on %s", v.Copy, v.CopyFile, strings.Join(v.Copies, ", "))
	}
	return a.result(v, func(w io.Writer) error {
		var b bytes.Buffer
		fmt.Fprintf(&b, "cluster       %s\ndirectory     %s\nidentity      %s\nuid           %s\n", v.Cluster, v.Directory, v.Identity, v.UID)
		for _, ca := range v.Authorities {
			fmt.Fprintf(&b, "authority     %s until %s\n", ca.Name, ca.NotAfter.Format(time.DateOnly))
		}
		fmt.Fprintf(&b, "certificates  %d, the first end is %s of %s\nsealed copy   %s\n",
			v.Certificates, v.FirstEnd.NotAfter.Format(time.DateOnly), v.FirstEnd.Name, copies)
		_, err := w.Write(b.Bytes())
		return err
	})
}
