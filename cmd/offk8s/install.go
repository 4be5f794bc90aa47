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
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
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
	noDrill   bool
	yes       bool
	ignore    ignored
	pass      passphrase // of the sealed copies of the state
	local     localOptions
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

With --local --ticket FILE, it installs this host alone, as root: each host runs it with its
ticket (offk8s ticket) and waits for the others, up to --wait in each step. Nothing connects
to a host over SSH. Such a run writes no log.

If hosts have left cluster.yaml, install names them and, on a terminal, asks before it takes
them out of the cluster.

Ctrl-C stops the run, and so does the loss of the connection: a host stops its step, but
a package manager finishes its transaction first, for which install waits up to ten
minutes. A second Ctrl-C ends the wait, not the transaction.

After the first installation of a cluster with balancers, install stops parts of it in turn
to see that it works without them, as offk8s drill does. If a drill fails, the cluster is
installed all the same, and the exit status is 3.

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
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.local.check(cmd); err != nil {
				return err
			}
			if o.local.local {
				return a.installLocal(cmd.Context(), o)
			}
			return a.install(cmd.Context(), o)
		},
	}
	o.local.flags(cmd)
	o.cluster.fileFlag(cmd)
	o.cluster.mirrorFlags(cmd)
	o.cluster.hostFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "check the hosts and print the plan; change nothing")
	f.BoolVar(&o.exitCode, "exit-code", false, "with --dry-run: exit 7 if anything would change")
	f.BoolVar(&o.downgrade, "allow-downgrade", false, "accept a bundle older than the one on the hosts")
	takeOverFlag(cmd, &o.takeOver)
	f.BoolVar(&o.noDrill, "no-drill", false, "leave out the drills after the first installation of a cluster with balancers")
	f.BoolVar(&o.yes, "yes", false, "do not ask before hosts leave the cluster")
	o.pass.flag = "state-passphrase-file"
	f.StringVar(&o.pass.file, o.pass.flag, "", "keep a copy of the state, sealed with the passphrase in this file (-: prompt), on every control plane")
	f.StringSliceVar(&o.forget, "forget", nil, "hosts that left cluster.yaml and will never come back: remove them without restoring them")
	o.ignore.flag(cmd)
	freshFlag(cmd, &o.fresh)
	return cmd
}

// installation is what the parts of install share.
type installation struct {
	*app
	o       installOptions
	cluster *manifests.Cluster
	mirror  *installer.Mirror
	in      stage.Input
	fleet   *installer.Fleet
	state   clusterState
	ticket  *installer.Ticket // nil if this machine has the state
	run     *clusterRun
	asking  sync.WaitGroup // questions to the mirror before the hosts are known
}

func (a *app) install(ctx context.Context, o installOptions) (err error) {
	i := installation{app: a, o: o}
	if i.cluster, err = o.cluster.load(); err != nil {
		return err
	}
	if err := o.ignore.apply(i.cluster); err != nil {
		return err
	}
	if i.mirror, i.in, err = a.openMirror(ctx, o.cluster, i.cluster); err != nil {
		return err
	}
	if err := a.checkAge(i.in.Lock, o.fresh); err != nil {
		return err
	}
	if _, err := installer.Judge(i.in); err != nil {
		return err // before any host is asked
	}
	if i.state, err = o.cluster.findState(i.cluster, ""); err != nil {
		return err
	}
	logDir := "" // a dry run leaves no trace
	if i.state.fits && !o.dryRun {
		logDir = i.state.dir
	}
	i.run = a.startRun("install", i.cluster.Name)
	defer func() { a.finishRun(i.run, logDir, err) }()
	early, stop := context.WithCancel(ctx)
	defer i.asking.Wait()
	defer stop()
	in := i.in
	i.asking.Go(func() { _ = i.mirror.Complete(early, in) }) // asked again with the facts
	if i.fleet, err = a.connect(ctx, o.cluster, i.cluster, true, i.run); err != nil {
		return err
	}
	defer i.fleet.Close()
	unlock, err := i.look(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := i.confirmLeaving(); err != nil {
		return err
	}
	plan, err := i.plan(ctx)
	if err != nil {
		return err
	}
	return i.apply(ctx, plan)
}

// confirmLeaving says which hosts leave the cluster and, on a terminal, asks: an old
// cluster.yaml lacks the hosts that another operator has added.
func (i *installation) confirmLeaving() error {
	var names, roles []string
	for _, h := range stage.Leaving(i.in) {
		names, roles = append(names, h.Name), append(roles, fmt.Sprintf("%s (%s)", h.Name, joinRoles(h.Roles)))
	}
	if len(names) == 0 || i.o.dryRun {
		return nil
	}
	last, when := "", time.Time{}
	for _, f := range i.in.Facts {
		if x := f.Installed; x != nil && x.Time.After(when) {
			last, when = fmt.Sprintf("; %s was the last to change the cluster, on %s", x.Operator, x.Time.Format(time.DateTime)), x.Time
		}
	}
	i.warnf("cluster.yaml does not have %s: the cluster %q loses it for good, and install removes what offk8s has put there%s", strings.Join(roles, ", "), i.cluster.Name, last)
	if i.o.yes || !i.isTerminal() {
		return nil
	}
	name := strings.Join(names, ",")
	if !i.confirm(fmt.Sprintf("type %s to continue: ", name), name) {
		return withHint(usagef("install: not confirmed, nothing was changed"), "add %s to %s if it is to stay", name, i.o.cluster.file)
	}
	return nil
}

// look locks and looks at the hosts, and opens the state directory of their cluster,
// which it locks.
func (i *installation) look(ctx context.Context) (unlock func() error, err error) {
	missing := i.fleet.Missing()
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		i.warnf("%s cannot be reached; the run goes on without it if the others are enough: %v", name, missing[name])
	}
	i.in.Forget = map[string]bool{}
	for _, name := range i.o.forget {
		i.in.Forget[name] = true
	}
	var checks []stage.Check
	err = i.run.stage("facts", len(i.cluster.Hosts), func() (err error) {
		if err := i.fleet.Lock(ctx, installer.LockOptions{Operator: operator(), TakeOver: i.o.takeOver, Progress: i.run}); err != nil {
			return err
		}
		i.in, checks, err = i.fleet.Preflight(ctx, i.in)
		return err
	})
	if err != nil && !as[*installer.PreflightError](err) {
		return nil, err
	}
	var serr error
	if i.state, unlock, serr = i.o.cluster.stateFor(i.in, i.o.dryRun); serr != nil {
		return nil, serr
	}
	if !i.o.dryRun {
		i.keepLog(i.run, i.state.dir)
	}
	i.warnings(checks)
	i.warnAuthorities(time.Now())
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

// authorityNotice is how long before the end of an authority install warns of it: the
// lifetime of the certificates that it signs, which are valid for less from then on.
const authorityNotice = 365 * 24 * time.Hour

// warnAuthorities warns of authorities that end soon. An error comes again from the plan.
func (i *installation) warnAuthorities(now time.Time) {
	ends, _ := i.state.credentials.AuthorityEnds()
	for _, v := range ends {
		if v.NotAfter.Sub(now) < authorityNotice {
			i.warnf("the authority %q of the cluster %q ends on %s, and with it all of its certificates: offk8s cannot replace it yet, so have a new cluster by then",
				v.Name, i.cluster.Name, v.NotAfter.Format(time.DateOnly))
		}
	}
}

// plan returns the plan, and makes the credentials of a new cluster.
func (i *installation) plan(ctx context.Context) (plan *installer.Plan, err error) {
	if i.in.StateCopies, err = i.o.copies(i.state); err != nil {
		return nil, err
	}
	if plan, err = installer.NewPlan(i.in, stage.Install()); err != nil {
		return nil, err
	}
	i.asking.Wait()
	if err := i.mirror.Complete(ctx, i.in); err != nil {
		return nil, err
	}
	if missing := i.fleet.Missing(); i.state.identity == "" && len(missing) > 0 && !i.o.dryRun {
		return nil, withHint(fmt.Errorf("state directory %q: has no credentials of the cluster, and %s cannot be reached", i.state.dir,
			strings.Join(slices.Sorted(maps.Keys(missing)), ", ")),
			"new ones are made only if every host is there, since a host may belong to the cluster already")
	}
	return plan, i.establish(i.o, i.cluster, &i.state)
}

func (i *installation) apply(ctx context.Context, plan *installer.Plan) error {
	first := i.ticket == nil && firstBalanced(i.in)
	o := installer.RunOptions{
		DryRun: i.o.dryRun, Bundle: i.mirror.Bundle, Mirror: i.mirror.Agent,
		Secrets: i.secret, Identity: i.identity(), Operator: operator(),
		AllowDowngrade: i.o.downgrade, Progress: i.run,
		After: map[string]func(context.Context) error{"time": installer.CheckClocks(i.fleet, i.in)},
	}
	if i.ticket == nil {
		o.Replan = func(away map[string]bool) (*installer.Plan, error) {
			i.in.Away = away
			maps.Copy(i.in.Away, i.in.Forget)
			if err := stage.Enough(i.in); err != nil {
				return nil, err
			}
			return installer.NewPlan(i.in, stage.Install())
		}
	}
	report, err := installer.Run(ctx, plan, i.fleet, o)
	var end closing
	switch {
	case !report.Done || i.o.dryRun:
	case i.ticket != nil:
		end = i.localWords()
	default:
		var lerr error
		end, lerr = lastWords(i.in, report, i.state.credentials, i.state.dir)
		err = errors.Join(err, lerr)
		if err == nil && first && !i.o.noDrill {
			end.Drills, err = i.firstDrill(ctx)
		}
	}
	i.run.end()
	if werr := i.runResult(report, i.run, end); err == nil {
		err = werr
	}
	return cmp.Or(explain(err, report, i.cluster), i.o.pending(report.Pending()))
}

// pending returns the exit code of --exit-code for so many steps that a dry run would apply.
func (o installOptions) pending(steps int) error {
	if o.dryRun && o.exitCode && steps > 0 {
		return quietError{exitPending}
	}
	return nil
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
