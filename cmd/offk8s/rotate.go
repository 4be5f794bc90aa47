package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

func (a *app) rotateCommand() *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the key that encrypts Secrets in etcd",
		Long: `Makes a new key for the encryption of Secrets in etcd, and takes the old one away:

  1. every API server gets the new key beside the old one, to read with
  2. every API server writes with the new key, and still reads with the old one
  3. all Secrets are written again
  4. the old key goes

Each time, the control planes change one after the other, and only while another API server
answers, as in install; with a single control plane, the API is away for seconds. A rotation
that is interrupted, or fails, goes on where it stopped when rotate runs again; meanwhile,
install leaves the keys as they are. Every control plane of cluster.yaml must be there.

The new key is in the directory --state before any API server has it: back up the directory
afterwards, and bring it to other machines that manage this cluster (offk8s state export). If
control planes have sealed copies of the state, --state-passphrase-file renews them. Keep an
old export as long as you keep snapshots of etcd from before. Tickets from before (offk8s
ticket) have the old key; a control plane refuses them.

Exit status: 0 done; 2 usage or configuration; 3 some hosts failed, listed; 4 the bundle is
bad; 5 it is not allowed; 6 the hosts are not suitable; 11 another operator works on a host;
12 wrong passphrase.`,
		Example: `  offk8s rotate -f cluster.yaml
  offk8s rotate --state-passphrase-file passphrase`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotate(cmd.Context(), o) },
	}
	o.cluster.fileFlag(cmd)
	o.cluster.mirrorFlags(cmd)
	o.cluster.hostFlags(cmd)
	takeOverFlag(cmd, &o.takeOver)
	o.pass.flag = "state-passphrase-file"
	cmd.Flags().StringVar(&o.pass.file, o.pass.flag, "", "renew the sealed copies of the state with the passphrase in this file (-: prompt)")
	o.ignore.flag(cmd)
	return cmd
}

// rotated is the result of rotate.
type rotated struct {
	Cluster string `json:"cluster"`
	Key     string `json:"key"`           // name
	BackUp  string `json:"backUp"`        // directory with the new key
	Log     string `json:"log,omitempty"` // file
}

func (a *app) rotate(ctx context.Context, o installOptions) (err error) {
	i := installation{app: a, o: o}
	if i.cluster, err = o.cluster.load(); err != nil {
		return err
	}
	if err := o.ignore.apply(i.cluster); err != nil {
		return err
	}
	if i.state, err = o.cluster.mustState(i.cluster); err != nil {
		return err
	}
	pass, err := a.copyPassphrase(o, i.cluster.Name, i.state)
	if err != nil {
		return err
	}
	if i.mirror, i.in, err = a.openMirror(ctx, o.cluster, i.cluster); err != nil {
		return err
	}
	i.run = a.startRun("rotate", i.cluster.Name)
	defer func() { a.finishRun(i.run, i.state.dir, err) }()
	if i.fleet, err = a.connect(ctx, o.cluster, i.cluster, true, i.run); err != nil {
		return err
	}
	defer i.fleet.Close()
	unlock, err := i.look(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := stage.CheckRotation(i.in); err != nil {
		return withHint(err, "run offk8s install until all is as cluster.yaml wants it; nothing was changed")
	}
	var done pki.Rotation
	err = installer.RotateKey(ctx, i.state.credentials, func(ctx context.Context, r pki.Rotation, op stage.Operation) error {
		done = r
		return i.rotatePhase(ctx, op, pass)
	})
	i.run.end()
	if err != nil {
		return withHint(err, "run rotate again: it goes on where it stopped, and until then Secrets can be read with the old key and the new one")
	}
	v := rotated{i.cluster.Name, done.Key, i.state.dir, i.run.logFile}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "Secrets of the cluster %q are encrypted with %s alone\nback up the directory %s: older copies do not have this key\n", v.Cluster, v.Key, v.BackUp)
		return err
	})
}

// copyPassphrase returns the passphrase for the sealed copies of the state, which must not
// lack the new key; nil if there are none.
func (a *app) copyPassphrase(o installOptions, cluster string, s clusterState) ([]byte, error) {
	with, err := o.copies(s)
	if err != nil || !with {
		return nil, err
	}
	if o.pass.file == "" {
		return nil, withHint(usagef("the control planes have sealed copies of the state, which would lack the new key"), "give --%s FILE", o.pass.flag)
	}
	secret, err := o.pass.read(a, fmt.Sprintf("passphrase of the copies of the state of %q: ", cluster), false)
	if err == nil && len(secret) == 0 {
		err = usagef("--%s: the passphrase is empty", o.pass.flag)
	}
	return secret, err
}

// rotatePhase brings the keys of the state directory, and a sealed copy with them, to all
// control planes.
func (i *installation) rotatePhase(ctx context.Context, op stage.Operation, pass []byte) error {
	if i.in.StateCopies = pass != nil; i.in.StateCopies {
		if _, err := i.state.credentials.SealCopy(i.cluster.Name, pass); err != nil {
			return err
		}
	}
	plan, err := installer.NewPlan(i.in, op)
	if err != nil {
		return err
	}
	report, err := installer.Run(ctx, plan, i.fleet, installer.RunOptions{
		Bundle: i.mirror.Bundle, Mirror: i.mirror.Agent,
		Secrets: i.secret, Identity: i.identity(), Operator: operator(), Progress: i.run,
	})
	if report.Done && !slices.ContainsFunc(report.Hosts, func(h installer.HostReport) bool { return h.Error != "" && i.isControlPlane(h.Host) }) {
		return nil // the others have nothing to do
	}
	return explain(err, report, i.cluster)
}

func (i *installation) isControlPlane(host string) bool {
	return slices.ContainsFunc(i.cluster.HostsWith(manifests.RoleControlPlane), func(h manifests.Host) bool { return h.Name == host })
}
