package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/phase"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
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
		Short: "Make a cluster of the hosts in cluster.yaml",
		Long: `Reaches every host (over SSH; a host marked "local" is this one), verifies the mirror's
bundle against the public key, checks that the hosts fit, and then goes through the
phases: host preparation, time, packages, certificates, etcd, container runtime,
control plane, nodes, network, DNS, and a smoke test with real pods. Every host
checks every byte itself against the signed bundle.

Run it again at any time: what is so is left alone, what was interrupted is finished.
The folder --state holds the cluster's CAs and keys: keep it, and keep it safe.

Exit status: 0 done; 2 usage or configuration; 3 some hosts failed, listed; 4 or 5 the
bundle is not what the key signed, or not allowed; 6 the hosts do not fit; 7 changes
pending (with --dry-run --exit-code); 11 another install works on a host.`,
		Example: `  offk8s install --key offk8s.pub --dry-run
  offk8s install -f cluster.yaml --key offk8s.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.install(cmd.Context(), o) },
	}
	o.cluster.fileFlag(cmd)
	o.cluster.mirrorFlags(cmd)
	o.cluster.hostFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan with real check results; change nothing")
	f.BoolVar(&o.exitCode, "exit-code", false, "with --dry-run: exit 7 when something would change")
	f.BoolVar(&o.downgrade, "allow-downgrade", false, "accept a bundle older than one that the hosts have seen")
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
	unlock, err := installer.LockState(o.cluster.stateDir(c))
	if err != nil {
		return err
	}
	defer unlock()
	fleet, err := a.connect(ctx, o.cluster, c, false)
	if err != nil {
		return err
	}
	defer fleet.Close()
	in, checks, err := fleet.Preflight(ctx, in)
	a.warnings(checks)
	if err != nil {
		return err
	}
	plan, err := installer.NewPlan(in, phase.All())
	if err != nil {
		return err
	}
	if err := m.Complete(ctx, in); err != nil {
		return err
	}
	store, err := pki.Open(pki.Options{Dir: o.cluster.stateDir(c), Cluster: c})
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	report, err := installer.Run(ctx, plan, fleet, installer.RunOptions{
		DryRun: o.dryRun, Bundle: agent.Bundle{PublicKeys: keys, Root: in.Root}, Mirror: m.Agent,
		Secrets: store.Resolve, AllowDowngrade: o.downgrade, Progress: a.newRunProgress(),
		After: map[string]func(context.Context) error{"time": installer.CheckClocks(fleet, in)},
	})
	if werr := a.runResult(report); err == nil {
		err = werr
	}
	if err == nil && o.dryRun && o.exitCode && report.Pending() > 0 {
		return quietError{exitPending}
	}
	return err
}

// warnings prints the checks that do not stop an install but are worth reading.
func (a *app) warnings(checks []phase.Check) {
	for _, c := range checks {
		if c.Verdict == phase.Warn {
			a.say("warning", "%s", c)
		}
	}
}

// runResult prints a Report; in JSON with the sums that scripts look for.
func (a *app) runResult(r *installer.Report) error {
	v := struct {
		Changed int `json:"changed"`
		Pending int `json:"pending"`
		Failed  int `json:"failed"`
		*installer.Report
	}{r.Changed(), r.Pending(), len(r.Hosts) - len(r.Unaffected()), r}
	return a.result(v, func(w io.Writer) error {
		if err := r.WriteText(w); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "changed: %d, would change: %d, hosts failed: %d\n", v.Changed, v.Pending, v.Failed)
		return err
	})
}

func (a *app) planCommand() *cobra.Command {
	var o clusterOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print what install would do, without asking any host",
		Long: `Prints the plan from cluster.yaml and the mirror's bundle alone. A host is taken for one
of the operating system that its "os:" says, or of the bundle's first. install
--dry-run asks the hosts and tells what differs.`,
		Example: `  offk8s plan -f cluster.yaml --key offk8s.pub
  offk8s plan --format json > plan.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load()
			if err != nil {
				return err
			}
			_, _, in, err := o.openMirror(cmd.Context(), c)
			if err != nil {
				return err
			}
			plan, err := installer.NewPlan(in, phase.All())
			if err != nil {
				return err
			}
			return a.result(plan, plan.WriteText)
		},
	}
	o.fileFlag(cmd)
	o.mirrorFlags(cmd)
	return cmd
}

func (a *app) resetCommand() *cobra.Command {
	var o clusterOptions
	var hosts []string
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Undo what install did, on all hosts or some",
		Long: `Restores on every host what was there before, from the host's own journal: stops and
removes units and containers, unmounts, restores files, removes data of etcd and of
the kubelet. Operating system packages stay, and are named. The cluster is gone after it.
A host that cannot be reached keeps none of the others from being reset.

Exit status: 0 done; 2 not confirmed; 3 some hosts failed, listed.`,
		Example: `  offk8s reset -f cluster.yaml
  offk8s reset --host node-3 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load()
			if err != nil {
				return err
			}
			if err := only(c, hosts); err != nil {
				return err
			}
			c.SetDefaults(catalog.Release{}) // reset needs to reach the hosts and nothing of a release
			if !yes {
				if err := a.confirmReset(c.Name); err != nil {
					return err
				}
			}
			unlock, err := installer.LockState(o.stateDir(c))
			if err != nil {
				return err
			}
			defer unlock()
			fleet, err := a.connect(cmd.Context(), o, c, true)
			if err != nil {
				return err
			}
			defer fleet.Close()
			report, err := installer.Reset(cmd.Context(), fleet, installer.ResetOptions{Progress: a.newRunProgress()})
			if report == nil {
				return err
			}
			return errors.Join(err, a.runResult(report))
		},
	}
	o.fileFlag(cmd)
	o.hostFlags(cmd)
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "only these hosts")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// only leaves the named hosts in c; none means all.
func only(c *manifests.Cluster, hosts []string) error {
	var errs []error
	for _, name := range hosts {
		if !slices.ContainsFunc(c.Hosts, func(h manifests.Host) bool { return h.Name == name }) {
			errs = append(errs, fmt.Errorf("--host %q: the cluster %q has no such host", name, c.Name))
		}
	}
	if len(hosts) > 0 {
		c.Hosts = slices.DeleteFunc(c.Hosts, func(h manifests.Host) bool { return !slices.Contains(hosts, h.Name) })
	}
	return asUsage(errors.Join(errs...))
}

// confirmReset wants the cluster's name typed; without a terminal only --yes will do.
func (a *app) confirmReset(name string) error {
	tty, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		return withHint(usagef("reset destroys the cluster %q and nobody is there to ask", name), "say --yes if you mean it")
	}
	if !a.confirm(fmt.Sprintf("this destroys the cluster %q; type its name to go on: ", name), name) {
		return usagef("reset: not confirmed")
	}
	return nil
}
