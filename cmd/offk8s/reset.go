package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// resetOptions are the flags of reset.
type resetOptions struct {
	cluster  clusterOptions
	hosts    []string
	yes      bool
	takeOver bool
	local    bool
}

func (a *app) resetCommand() *cobra.Command {
	var o resetOptions
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Undo install on all or some hosts",
		Long: `Restores the earlier state of every host from the host's journal: stops and removes
units and containers, unmounts, restores files, removes the data of etcd and the
kubelet. Operating system packages stay and are listed, as are those that apt removed for
them, such as systemd-timesyncd for chrony. This destroys the cluster.
If a host cannot be reached, the others are reset all the same.

With --host, only those hosts are reset; reset then says what remains of etcd and the
API. To take a host out of a cluster that stays, remove it from cluster.yaml and run
install, which drains it first.

With --local, it resets this host alone, as root, without SSH and without cluster.yaml:
the host's journal names the cluster.

The state directory of the cluster stays; if there is one, the events of the run are
written to a file in it, runs/TIME.jsonl, and hosts of another cluster of that name refuse.

Exit status: 0 done; 2 not confirmed; 3 some hosts failed, listed; 5 a host belongs to
another cluster; 11 another operator works on a host.`,
		Example: `  offk8s reset -f cluster.yaml
  offk8s reset --host node-3 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !o.local {
				return a.reset(cmd.Context(), o)
			}
			for _, name := range []string{"file", "host"} {
				if cmd.Flags().Changed(name) {
					return usagef("--%s: not with --local, which resets this host alone", name)
				}
			}
			return a.resetLocal(cmd.Context(), o)
		},
	}
	o.cluster.fileFlag(cmd)
	o.cluster.hostFlags(cmd)
	cmd.Flags().StringSliceVar(&o.hosts, "host", nil, "only these hosts")
	cmd.Flags().BoolVar(&o.local, "local", false, "reset this host alone")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	takeOverFlag(cmd, &o.takeOver)
	return cmd
}

func (a *app) reset(ctx context.Context, o resetOptions) (err error) {
	c, err := o.cluster.load()
	if err != nil {
		return err
	}
	state, err := o.cluster.findState(c, "")
	if err != nil {
		return err
	}
	lost := losses(c, o.hosts)
	if err := selectHosts(c, o.hosts); err != nil {
		return err
	}
	c.SetDefaults(catalog.Release{}) // reset needs only the SSH settings, nothing of a release
	for _, l := range lost {
		a.warnf("%s", l)
	}
	if !o.yes {
		if err := a.confirmReset(c, len(o.hosts) > 0); err != nil {
			return err
		}
	}
	_, serr := os.Stat(state.dir)
	unlock, err := installer.LockState(state.dir)
	if err != nil {
		return err
	}
	defer unlock()
	run := a.startRun("reset", c.Name)
	if serr == nil && state.fits {
		a.keepLog(run, state.dir)
	}
	defer func() { a.finishRun(run, "", err) }()
	known := ""
	if state.fits {
		known = state.identity
	}
	err = a.undo(ctx, o, c, run, known)
	if errors.Is(err, agent.ErrIdentity) {
		err = withHint(err, "it is another cluster of that name: correct the addresses in %s; if you mean that one, name the directory of its state with --state, or run offk8s reset --local on the host", o.cluster.file)
	}
	return err
}

// undo resets the hosts of c, whose identity is "" if it is not known here.
func (a *app) undo(ctx context.Context, o resetOptions, c *manifests.Cluster, run *clusterRun, identity string) error {
	fleet, err := a.connect(ctx, o.cluster, c, true, run)
	if err != nil {
		return err
	}
	defer fleet.Close()
	err = fleet.Lock(ctx, installer.LockOptions{Operator: operator(), TakeOver: o.takeOver, Progress: run})
	if errors.Is(err, agent.ErrLocked) { // other errors come again, in the report
		return err
	}
	report, err := installer.Reset(ctx, fleet, installer.ResetOptions{Progress: run, Identity: identity})
	run.end()
	if report == nil {
		return err
	}
	return errors.Join(err, a.runResult(report, run, closing{}))
}

// losses describes the loss of the rest of the cluster if only these hosts are reset.
func losses(c *manifests.Cluster, hosts []string) []string {
	gone := func(h manifests.Host) bool { return slices.Contains(hosts, h.Name) }
	if len(hosts) == 0 || !slices.ContainsFunc(c.Hosts, func(h manifests.Host) bool { return !gone(h) }) {
		return nil // the whole cluster
	}
	var out []string
	rest := func(r manifests.Role) (left, all int) {
		members := c.HostsWith(r)
		return len(slices.DeleteFunc(slices.Clone(members), gone)), len(members)
	}
	if left, all := rest(manifests.RoleEtcd); left < all/2+1 {
		out = append(out, fmt.Sprintf("etcd keeps %d of %d members and loses its quorum: the whole cluster stops", left, all))
	} else if left < all {
		out = append(out, fmt.Sprintf("etcd keeps %d of %d members, it needs %d", left, all, all/2+1))
	}
	if left, all := rest(manifests.RoleControlPlane); left == 0 {
		out = append(out, "no control plane is left: nothing can change the cluster")
	} else if left < all {
		out = append(out, fmt.Sprintf("the API keeps %d of %d servers", left, all))
	}
	return out
}

// selectHosts removes all other hosts from c; an empty list keeps all.
func selectHosts(c *manifests.Cluster, hosts []string) error {
	var errs []error
	for _, name := range hosts {
		if _, err := findHost(c, name); err != nil {
			errs = append(errs, fmt.Errorf("--host %q: %w", name, err))
		}
	}
	if len(hosts) > 0 {
		c.Hosts = slices.DeleteFunc(c.Hosts, func(h manifests.Host) bool { return !slices.Contains(hosts, h.Name) })
	}
	return asUsage(errors.Join(errs...))
}

// findHost returns the host of that name. The error lists the names that there are.
func findHost(c *manifests.Cluster, name string) (manifests.Host, error) {
	for _, h := range c.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	err := fmt.Errorf("the cluster %q has no such host, want one of %s", c.Name, strings.Join(namesOf(c.Hosts), ", "))
	return manifests.Host{}, withHint(err, "%s", nearestOf(name, namesOf(c.Hosts)))
}

func namesOf(hosts []manifests.Host) []string {
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return names
}

// confirmReset asks for the name of the cluster that is reset, or of the hosts if they are
// only some. Without a terminal it fails: reset then needs --yes.
func (a *app) confirmReset(c *manifests.Cluster, some bool) error {
	what, name := fmt.Sprintf("destroys the cluster %q", c.Name), c.Name
	question := fmt.Sprintf("this %s; type its name to continue: ", what)
	if some {
		var names, roles []string
		for _, h := range c.Hosts {
			names = append(names, h.Name)
			roles = append(roles, fmt.Sprintf("%s (%s)", h.Name, joinRoles(h.Roles)))
		}
		name = strings.Join(names, ",")
		what = fmt.Sprintf("undoes install on %s of the cluster %q", strings.Join(roles, ", "), c.Name)
		question = fmt.Sprintf("this %s; type %s to continue: ", what, name)
	}
	if !a.isTerminal() {
		return withHint(usagef("reset %s and there is no terminal to ask on", what), "give --yes to confirm")
	}
	if !a.confirm(question, name) {
		return usagef("reset: not confirmed")
	}
	return nil
}

func joinRoles(roles []manifests.Role) string {
	var out []string
	for _, r := range roles {
		out = append(out, string(r))
	}
	return strings.Join(out, ", ")
}
