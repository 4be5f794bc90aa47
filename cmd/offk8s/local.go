package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// localOptions are the flags of install on a host that installs itself.
type localOptions struct {
	local  bool
	ticket string // file
	pass   passphrase
	wait   time.Duration
}

// The bounds of --wait.
const (
	localWait    = 30 * time.Minute
	maxLocalWait = 12 * time.Hour
)

func (o *localOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.local, "local", false, "install this host alone, with a --ticket")
	f.StringVar(&o.ticket, "ticket", "", "with --local: the ticket of this host (see offk8s ticket)")
	f.DurationVar(&o.wait, "wait", localWait, "with --local: how long a step waits for other hosts")
	o.pass.flags(cmd)
}

// check refuses flags that do not belong together.
func (o localOptions) check(cmd *cobra.Command) error {
	if !o.local {
		for _, name := range []string{"ticket", "wait", "passphrase-file"} {
			if cmd.Flags().Changed(name) {
				return withHint(usagef("--%s: only with --local", name), "offk8s install --local --ticket FILE installs this host alone")
			}
		}
		return nil
	}
	if o.ticket == "" {
		return withHint(usagef("--local: no ticket is given"), "offk8s ticket writes one for each host, on the machine with the state of the cluster")
	}
	for _, name := range []string{"file", "mirror", "forget", "state-passphrase-file"} {
		if cmd.Flags().Changed(name) {
			return usagef("--%s: not with --local, the ticket has what the host needs", name)
		}
	}
	if o.wait < time.Minute || o.wait > maxLocalWait {
		return usagef("--wait %s: want at least 1m and at most %s", o.wait, maxLocalWait)
	}
	return nil
}

// installLocal installs this host with its ticket.
func (a *app) installLocal(ctx context.Context, o installOptions) (err error) {
	t, err := a.openTicket(o.local)
	if err != nil {
		return err
	}
	i := installation{app: a, o: o, ticket: t}
	if i.cluster, err = t.Load(); err != nil {
		return err
	}
	if err := o.ignore.apply(i.cluster); err != nil {
		return err
	}
	h, err := findHost(i.cluster, t.Host)
	if err != nil {
		return err
	}
	if i.mirror, err = t.OpenMirror(ctx); err != nil {
		return err
	}
	i.in = inputOf(i.cluster, i.mirror)
	i.in.StateCopies, i.in.Alone = t.StateCopies, stage.Alone{Host: t.Host, Wait: o.local.wait}
	if err := a.checkAge(i.in.Lock, o.fresh); err != nil {
		return err
	}
	i.run = a.startRun("install", i.cluster.Name)
	defer func() { a.finishRun(i.run, "", err) }()
	here := *i.cluster
	h.Local = true
	here.Hosts = []manifests.Host{h}
	if i.fleet, err = a.connect(ctx, o.cluster, &here, false, i.run); err != nil {
		return err
	}
	defer i.fleet.Close()
	if err := i.lookLocal(ctx); err != nil {
		return err
	}
	plan, err := installer.NewPlan(i.in, stage.Install())
	if err != nil {
		return err
	}
	if err := i.mirror.Complete(ctx, i.in); err != nil {
		return err
	}
	return i.apply(ctx, plan)
}

// openTicket opens the ticket if it is for this machine and now.
func (a *app) openTicket(o localOptions) (*installer.Ticket, error) {
	b, err := reader.ReadFile(o.ticket, installer.MaxTicket)
	if err != nil {
		return nil, asUsage(err)
	}
	if err := isDocument(b, o.ticket, "ticket, which offk8s ticket writes"); err != nil {
		return nil, err
	}
	sealed, err := installer.ParseTicket(b)
	if err != nil {
		return nil, err
	}
	addresses, err := ownAddresses()
	if err != nil {
		return nil, err
	}
	if err := sealed.Check(time.Now(), addresses); err != nil {
		return nil, err
	}
	pass, err := o.pass.read(a, fmt.Sprintf("passphrase of the ticket of %q: ", sealed.Host), false)
	if err != nil {
		return nil, err
	}
	return sealed.Open(pass)
}

// ownAddresses returns the addresses of this machine.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	var out []netip.Addr
	for _, x := range all {
		if p, perr := netip.ParsePrefix(x.String()); perr == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out, err
}

// lookLocal locks and looks at this host.
func (i *installation) lookLocal(ctx context.Context) error {
	var checks []stage.Check
	err := i.run.stage("facts", 1, func() (err error) {
		if err := i.fleet.Lock(ctx, installer.LockOptions{Operator: operator(), TakeOver: i.o.takeOver, Progress: i.run}); err != nil {
			return err
		}
		i.in, checks, err = i.fleet.Preflight(ctx, i.in)
		return err
	})
	i.warnings(checks)
	if err != nil {
		return err
	}
	if behind := stage.Skew(i.in, i.ticket.Host, -time.Since(i.ticket.Made)); time.Now().Before(i.ticket.Made) && behind.Verdict == stage.Fail {
		behind.Hint = "its ticket was made later than that; set the clock"
		return &installer.PreflightError{Checks: []stage.Check{behind}}
	}
	return installer.Guard(i.in, i.ticket.Identity)
}

// secret returns a secret of the ticket, or of the state directory.
func (i *installation) secret(ref string) ([]byte, error) {
	if i.ticket == nil {
		return i.state.credentials.Resolve(ref)
	}
	b, ok := i.ticket.Secrets[ref]
	if !ok {
		return nil, fmt.Errorf("the ticket of %q does not have it", i.ticket.Host)
	}
	return b, nil
}

// identity returns the identity of the cluster's credentials.
func (i *installation) identity() string {
	if i.ticket != nil {
		return i.ticket.Identity
	}
	return i.state.identity
}

// localWords returns the closing of a host that has installed itself.
func (i *installation) localWords() closing {
	out := closing{access: access{Endpoint: "https://" + i.cluster.Endpoint()}, Kubernetes: i.in.Lock.Kubernetes, Host: i.ticket.Host}
	if h, err := findHost(i.cluster, i.ticket.Host); err == nil && h.HasRole(manifests.RoleControlPlane) {
		out.Kubeconfig = kube.AdminConf
	}
	return out
}

// resetLocal resets this host. Its journal names the cluster and the host.
func (a *app) resetLocal(ctx context.Context, o resetOptions) (err error) {
	name, _ := os.Hostname()
	here := &manifests.Cluster{Hosts: []manifests.Host{{Name: cmp.Or(name, "localhost"), Local: true}}}
	run := a.startRun("reset", "")
	defer func() { a.finishRun(run, "", err) }()
	fleet, err := a.connect(ctx, o.cluster, here, false, run)
	if err != nil {
		return err
	}
	i, err := fleet.Installed(ctx, here.Hosts[0].Name)
	if err = errors.Join(err, fleet.Close()); err != nil {
		return err
	}
	if i == nil {
		a.notef("nothing of offk8s was found here: this host has no journal in %s", agent.StateDir)
	} else {
		here.Name, here.Hosts[0].Name = i.Cluster, i.Host
		for _, l := range losses(clusterOf(i), []string{i.Host}) {
			a.warnf("%s", l)
		}
		for _, r := range i.Roles {
			here.Hosts[0].Roles = append(here.Hosts[0].Roles, manifests.Role(r))
		}
	}
	if !o.yes && i != nil {
		if err := a.confirmReset(here, true); err != nil {
			return err
		}
	}
	return a.undo(ctx, o, here, run, "")
}

// clusterOf returns the hosts of the cluster that the journal of a host records.
func clusterOf(i *facts.Installed) *manifests.Cluster {
	c := &manifests.Cluster{Name: i.Cluster}
	for _, m := range i.Hosts {
		h := manifests.Host{Name: m.Name, Address: m.Address}
		for _, r := range m.Roles {
			h.Roles = append(h.Roles, manifests.Role(r))
		}
		c.Hosts = append(c.Hosts, h)
	}
	return c
}
