package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
)

// installOptions are the flags of install.
type installOptions struct {
	cluster   clusterOptions
	dryRun    bool
	exitCode  bool
	downgrade bool
	forget    []string
	fresh     bool
	takeOver  bool
	pass      passphrase // of the sealed copies of the state
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
The directory --state holds the cluster's CAs and keys: keep it, and keep it safe (offk8s
state export). With --state-passphrase-file, every control plane keeps a sealed copy of it;
later runs leave the copies as they are unless the passphrase is given again. A run locks
all hosts until its end, so that two operators do not work at the same time.

Ctrl-C stops the run, and so does the loss of the connection: a host stops its step, but
a package manager finishes its transaction first, for which install waits up to ten
minutes. A second Ctrl-C ends the wait, not the transaction.

On a terminal, install shows the step that runs on each host; in a pipe it prints a line
per change, and one for every 15 seconds that a step takes. With --progress json, stderr
has an event per line. All events of a run are written to a file, runs/TIME.jsonl in the
directory --state, of which the last 20 stay; a dry run writes none, it leaves no trace.

Exit status: 0 done; 2 usage or configuration; 3 some hosts failed, listed; 4 the
bundle is bad; 5 it is not allowed; 6 the hosts are not suitable; 7 changes pending
(with --dry-run --exit-code); 11 another operator works on a host; 12 wrong passphrase.`,
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
	takeOverFlag(cmd, &o.takeOver)
	o.pass.flag = "state-passphrase-file"
	f.StringVar(&o.pass.file, o.pass.flag, "", "keep a copy of the state, sealed with the passphrase in this file (-: prompt), on every control plane")
	f.StringSliceVar(&o.forget, "forget", nil, "hosts that left cluster.yaml and will never come back: remove them without restoring them")
	freshFlag(cmd, &o.fresh)
	return cmd
}

func (a *app) install(ctx context.Context, o installOptions) (err error) {
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
	state, err := o.cluster.findState(c, "")
	if err != nil {
		return err
	}
	logDir := "" // a dry run leaves no trace
	if state.fits && !o.dryRun {
		logDir = state.dir
	}
	run := a.startRun("install", c.Name)
	defer func() { a.finishRun(run, logDir, err) }()
	in.Forget = map[string]bool{}
	for _, name := range o.forget {
		in.Forget[name] = true
	}
	fleet, err := a.connect(ctx, o.cluster, c, true, run)
	if err != nil {
		return err
	}
	defer fleet.Close()
	missing := fleet.Missing()
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		a.warnf("%s cannot be reached; the run goes on without it if the others are enough: %v", name, missing[name])
	}
	var checks []stage.Check
	err = run.stage("facts", len(c.Hosts), func() (err error) {
		if err := fleet.Lock(ctx, installer.LockOptions{Operator: operator(), TakeOver: o.takeOver, Progress: run}); err != nil {
			return err
		}
		in, checks, err = fleet.Preflight(ctx, in)
		return err
	})
	if err != nil && !as[*installer.PreflightError](err) {
		return err
	}
	state, unlock, serr := o.cluster.stateFor(in, o.dryRun)
	if serr != nil {
		return serr
	}
	defer unlock()
	if !o.dryRun {
		a.keepLog(run, state.dir)
	}
	a.warnings(checks)
	if err != nil {
		return err
	}
	if in.StateCopies, err = o.copies(state); err != nil {
		return err
	}
	plan, err := installer.NewPlan(in, stage.Install())
	if err != nil {
		return err
	}
	if err := m.Complete(ctx, in); err != nil {
		return err
	}
	if state.identity == "" && len(missing) > 0 && !o.dryRun {
		return withHint(fmt.Errorf("state directory %q: has no credentials of the cluster, and %s cannot be reached", state.dir,
			strings.Join(slices.Sorted(maps.Keys(missing)), ", ")),
			"new ones are made only if every host is there, since a host may belong to the cluster already")
	}
	if err := a.establish(o, c, &state); err != nil {
		return err
	}
	report, err := installer.Run(ctx, plan, fleet, installer.RunOptions{
		DryRun: o.dryRun, Bundle: agent.Bundle{PublicKeys: keys, Root: in.Root}, Mirror: m.Agent,
		Replan: func(away map[string]bool) (*installer.Plan, error) {
			in.Away = away
			maps.Copy(in.Away, in.Forget)
			return installer.NewPlan(in, stage.Install())
		},
		Secrets: state.credentials.Resolve, Identity: state.identity, Operator: operator(), AllowDowngrade: o.downgrade, Progress: run,
		After: map[string]func(context.Context) error{"time": installer.CheckClocks(fleet, in)},
	})
	run.end()
	var end closing
	if report.Done && !o.dryRun {
		var lerr error
		end, lerr = lastWords(in, report, state.credentials, state.dir)
		err = errors.Join(err, lerr)
	}
	if werr := a.runResult(report, run, end); err == nil {
		err = werr
	}
	err = explain(err, report, c)
	if err == nil && o.dryRun && o.exitCode && report.Pending() > 0 {
		return quietError{exitPending}
	}
	return err
}

func takeOverFlag(cmd *cobra.Command, v *bool) {
	cmd.Flags().BoolVar(v, "take-over", false, "end the work of another operator on the hosts; a package transaction is finished first")
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

// warnings prints the checks that warn.
func (a *app) warnings(checks []stage.Check) {
	for _, c := range checks {
		if c.Verdict == stage.Warn {
			a.warnf("%s", c)
		}
	}
}
