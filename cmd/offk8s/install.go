package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// installOptions are the flags of install.
type installOptions struct {
	cluster   clusterOptions
	dryRun    bool
	exitCode  bool
	downgrade bool
	fresh     bool
}

func (a *app) installCommand() *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install a cluster on the hosts in cluster.yaml",
		Long: `Connects to every host (over SSH, or directly if the host is marked "local"), verifies
the mirror's bundle against the public key, checks that the hosts are suitable, and then
runs the stages: host preparation, time, packages, certificates, etcd, container runtime,
control plane, nodes, network, DNS, and a smoke test with real pods. Every host verifies
every byte that it uses against the signed bundle.

Run it again at any time: it changes only what differs and finishes an interrupted run.
The directory --state holds the cluster's CAs and keys: keep it, and keep it safe.

Exit status: 0 done; 2 usage or configuration; 3 some hosts failed, listed; 4 the
bundle is bad; 5 it is not allowed; 6 the hosts are not suitable; 7 changes pending
(with --dry-run --exit-code); 11 another install works on a host.`,
		Example: `  offk8s install --key offk8s.pub --dry-run
  offk8s install -f cluster.yaml --key offk8s.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.install(cmd.Context(), o) },
	}
	o.cluster.fileFlag(cmd)
	o.cluster.mirrorFlags(cmd)
	o.cluster.hostFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "check the hosts and print the plan; change nothing")
	f.BoolVar(&o.exitCode, "exit-code", false, "with --dry-run: exit 7 if anything would change")
	f.BoolVar(&o.downgrade, "allow-downgrade", false, "accept a bundle older than the one on the hosts")
	freshFlag(cmd, &o.fresh)
	return cmd
}

func (a *app) install(ctx context.Context, o installOptions) error {
	c, err := o.cluster.load()
	if err != nil {
		return err
	}
	m, keys, in, err := o.cluster.openMirror(ctx, c)
	if err != nil {
		return err
	}
	if err := a.checkAge(in.Lock, o.fresh); err != nil {
		return err
	}
	if _, err := installer.Judge(in); err != nil {
		return err // before any host is asked
	}
	dir := o.cluster.stateDir(c)
	if !o.dryRun {
		unlock, err := installer.LockState(dir)
		if err != nil {
			return err
		}
		defer unlock()
	}
	fleet, err := a.connect(ctx, o.cluster, c, true)
	if err != nil {
		return err
	}
	defer fleet.Close()
	missing := fleet.Missing()
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		a.warnf("%s cannot be reached; the run goes on without it if the others are enough: %v", name, missing[name])
	}
	in, checks, err := fleet.Preflight(ctx, in)
	credentials, identity, cerr := o.credentials(c, dir, in)
	if cerr != nil {
		return cerr
	}
	a.warnings(checks)
	if err != nil {
		return err
	}
	plan, err := installer.NewPlan(in, stage.Install())
	if err != nil {
		return err
	}
	if err := m.Complete(ctx, in); err != nil {
		return err
	}
	if identity == "" {
		if len(missing) > 0 && !o.dryRun {
			return withHint(fmt.Errorf("state directory %q: has no credentials of the cluster, and %s cannot be reached", dir,
				strings.Join(slices.Sorted(maps.Keys(missing)), ", ")),
				"new ones are made only if every host is there, since a host may belong to the cluster already")
		}
		if identity, err = credentials.Establish(); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	report, err := installer.Run(ctx, plan, fleet, installer.RunOptions{
		DryRun: o.dryRun, Bundle: agent.Bundle{PublicKeys: keys, Root: in.Root}, Mirror: m.Agent,
		Replan: func(away map[string]bool) (*installer.Plan, error) {
			in.Away = away
			return installer.NewPlan(in, stage.Install())
		},
		Secrets: credentials.Resolve, Identity: identity, Operator: operator(), AllowDowngrade: o.downgrade, Progress: a.newRunProgress(),
		After: map[string]func(context.Context) error{"time": installer.CheckClocks(fleet, in)},
	})
	var reach access
	if report.Done && !o.dryRun {
		var rerr error
		reach, rerr = writeKubeconfig(c, credentials, dir)
		err = errors.Join(err, rerr)
	}
	if werr := a.runResult(report, reach); err == nil {
		err = werr
	}
	if err == nil && o.dryRun && o.exitCode && report.Pending() > 0 {
		return quietError{exitPending}
	}
	return err
}

// operator returns the "user@machine" that runs this program, behind sudo too.
func operator() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	machine, _ := os.Hostname()
	return cmp.Or(name, "unknown") + "@" + cmp.Or(machine, "unknown")
}

// credentials opens the cluster's credentials in dir and compares them and the bundle
// with what runs on the hosts. The identity is empty if the credentials do not exist.
// A dry run leaves dir as it is.
func (o installOptions) credentials(c *manifests.Cluster, dir string, in stage.Input) (*pki.Credentials, string, error) {
	credentials, err := pki.Open(pki.Options{Dir: dir, DryRun: o.dryRun, Cluster: c})
	if err != nil {
		return nil, "", fmt.Errorf("state directory: %w", err)
	}
	identity, err := credentials.Identity()
	if err != nil {
		return nil, "", fmt.Errorf("state directory: %w", err)
	}
	if err := installer.Guard(in, identity); err != nil {
		if missing, merr := credentials.Missing(); merr == nil && len(missing) > 0 {
			err = fmt.Errorf("%s is missing: %w", strings.Join(missing, ", "), err)
		}
		return nil, "", fmt.Errorf("state directory %q: %w", dir, err)
	}
	return credentials, identity, nil
}

// warnings prints the checks that warn.
func (a *app) warnings(checks []stage.Check) {
	for _, c := range checks {
		if c.Verdict == stage.Warn {
			a.warnf("%s", c)
		}
	}
}

// runResult prints r, with the totals that scripts read and, if the cluster runs, how
// to reach it.
func (a *app) runResult(r *installer.Report, reach access) error {
	v := struct {
		Changed int `json:"changed"`
		Pending int `json:"pending"`
		Failed  int `json:"failed"`
		access
		*installer.Report
	}{r.Changed(), r.Pending(), len(r.Hosts) - len(r.Unaffected()), reach, r}
	return a.result(v, func(w io.Writer) error {
		if err := r.WriteText(w); err != nil {
			return err
		}
		if a.verbose > 0 || v.Failed > 0 {
			if err := r.WriteCounts(w); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "changed: %d, would change: %d, hosts failed: %d\n", v.Changed, v.Pending, v.Failed)
		if err != nil || reach == (access{}) {
			return err
		}
		_, err = fmt.Fprintf(w, "endpoint: %s\nkubeconfig: %s\nback up the directory %s: without it nobody can change this cluster\n",
			reach.Endpoint, reach.Kubeconfig, filepath.Dir(reach.Kubeconfig))
		return err
	})
}
