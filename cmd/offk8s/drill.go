package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/drill"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// drillCmdOptions are the flags of drill.
type drillCmdOptions struct {
	cluster  clusterOptions
	only     []string
	limit    time.Duration
	yes      bool
	takeOver bool
}

func (a *app) drillCommand() *cobra.Command {
	var o drillCmdOptions
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Stop parts of a cluster in turn, and measure the outages",
		Long: `Stops services of the running cluster on one host after the other, as a failure would,
and starts them again:

  balancer       haproxy and keepalived on the balancer that has the virtual address;
                 clients may wait for 5 s
  control-plane  API server, controller manager, scheduler and approver of one control
                 plane; 3 s
  etcd           the member of etcd that is the leader; 5 s

Meanwhile this machine writes to the API every 50 ms, with the administrator's credential
from the directory --state, through the endpoint that users have: it must be able to reach
it. The table shows the longest time without an acknowledged write. Every write is read
back; none may be lost. A drill that a cluster cannot survive, such as of its only
control plane, is not done.

Before each stop, everything that a drill can stop has to work on all hosts; otherwise
nothing is stopped. Afterwards the services are started in every case: after an error,
after Ctrl-C, by the host itself when the connection is lost, and by a timer of its
systemd within four minutes if everything else fails. Then they have to work again before
the next drill.

Pods go on during a drill. On a terminal, drill asks before it begins; in a pipe it needs
--yes. After the first installation of a cluster with balancers, install does the drills.
Neither the mirror nor the bundle is needed. Hosts are locked as for install, and the
events are written to a file in the directory --state, runs/TIME.jsonl.

Exit status: 0 done; 1 an outage was too long, a part did not come back, or a write was
lost; 2 usage, configuration or not confirmed; 6 not everything works, or the endpoint
cannot be reached: nothing was stopped; 11 another operator works on a host.`,
		Example: `  offk8s drill -f cluster.yaml
  offk8s drill --only etcd --yes --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.drill(cmd.Context(), o) },
	}
	o.cluster.fileFlag(cmd)
	o.cluster.hostFlags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&o.only, "only", nil, "only these drills: "+strings.Join(stage.DrillNames(), ", "))
	f.DurationVar(&o.limit, "limit", 0, "longest outage of every drill (default: as above)")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	takeOverFlag(cmd, &o.takeOver)
	return cmd
}

// drillOutput is the result of drill.
type drillOutput struct {
	Cluster string         `json:"cluster"`
	Drills  []drill.Result `json:"drills"`
	Log     string         `json:"log,omitempty"` // file
}

func (a *app) drill(ctx context.Context, o drillCmdOptions) (err error) {
	for _, name := range o.only {
		if !slices.Contains(stage.DrillNames(), name) {
			return usagef("--only %q: want some of %s", name, strings.Join(stage.DrillNames(), ", "))
		}
	}
	if o.limit < 0 {
		return usagef("--limit %s: want 0 or more", o.limit)
	}
	c, state, err := o.cluster.loadWithState()
	if err != nil {
		return err
	}
	c.SetDefaults(catalog.Release{}) // nothing of a release is needed
	if !o.yes {
		if err := a.confirmDrill(c.Name); err != nil {
			return err
		}
	}
	unlock, err := installer.LockState(state.dir)
	if err != nil {
		return err
	}
	defer unlock()
	run := a.startRun("drill", c.Name)
	a.keepLog(run, state.dir)
	defer func() { a.finishRun(run, "", err) }()
	hosts := *c
	hosts.Hosts = stage.Drilled(c)
	fleet, err := a.connect(ctx, o.cluster, &hosts, false, run)
	if err != nil {
		return err
	}
	defer fleet.Close()
	if err := fleet.Lock(ctx, installer.LockOptions{Operator: operator(), TakeOver: o.takeOver, Progress: run}); err != nil {
		return err
	}
	results, err := runDrills(ctx, fleet, stage.Input{Cluster: c}, state, run, installer.DrillOptions{Only: o.only, Limit: o.limit})
	run.end()
	if len(results) > 0 {
		v := drillOutput{c.Name, results, run.logFile}
		err = errors.Join(err, a.result(v, func(w io.Writer) error { return writeDrills(w, results) }))
	}
	if err == nil {
		err = drillFailure(results)
	}
	return err
}

// runDrills does the drills with a writer that has the credential of the administrator.
func runDrills(ctx context.Context, fleet *installer.Fleet, in stage.Input, state clusterState, run *clusterRun, o installer.DrillOptions) (results []drill.Result, err error) {
	b, err := state.credentials.Resolve(pki.KubeconfigRef(pki.Admin))
	if err != nil {
		return nil, err
	}
	server, conf, _, err := kube.ParseKubeconfig(b) // with a certificate
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of the administrator: %w", err)
	}
	// HTTP/1.1, in which a request that takes too long ends its connection. No Proxy: the
	// API is in the cluster's network.
	w, err := drill.Start(ctx, server, &http.Transport{TLSClientConfig: conf})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	o.Identity, o.Operator, o.Progress = state.identity, operator(), run
	o.Result = func(r drill.Result) { run.log.emit(runEvent{"event": "drill", "result": r}) }
	return fleet.Drill(ctx, in, w, o)
}

// drillFailure returns an error if a drill failed.
func drillFailure(results []drill.Result) error {
	failures := drill.Failures(results)
	if failures == "" {
		return nil
	}
	return withHint(fmt.Errorf("drill: %s", failures),
		"offk8s logs HOST shows the services of a host; find out why before you rely on this cluster")
}

// writeDrills writes a table of the outages.
func writeDrills(w io.Writer, results []drill.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DRILL\tHOST\tSTOPPED\tOUTAGE\tLIMIT\tWRITES\tLOST\tWRONG\tVERDICT")
	for _, r := range results {
		verdict := string(r.Verdict) + reason(oneLine(r.Reason, 0))
		if r.Verdict == drill.NotDrilled {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\t-\t-\t-\t%s\n", r.Drill, cmp.Or(r.Host, "-"), verdict)
			continue
		}
		units := strings.ReplaceAll(strings.Join(r.Stopped, ","), ".service", "")
		fmt.Fprintf(t, "%s\t%s\t%s\t%d ms\t%d ms\t%d\t%d\t%d\t%s\n", r.Drill, r.Host, units, r.Outage, r.Limit, r.Writes, r.Lost, r.Wrong, verdict)
	}
	return t.Flush()
}

func (a *app) confirmDrill(cluster string) error {
	if !a.isTerminal() {
		return withHint(usagef("drill stops services of the cluster %q and there is no terminal to ask on", cluster), "give --yes to confirm")
	}
	question := fmt.Sprintf("this stops services of the running cluster %q, one after the other; type its name to continue: ", cluster)
	if !a.confirm(question, cluster) {
		return usagef("drill: not confirmed")
	}
	return nil
}

// firstBalanced reports whether a run installs a cluster with balancers for the first time,
// with all its hosts.
func firstBalanced(in stage.Input) bool {
	for _, h := range in.Cluster.Hosts {
		if in.Facts[h.Name].Installed != nil || in.Away[h.Name] {
			return false
		}
	}
	return in.Cluster.Balancing() == manifests.BalanceHosts
}

// firstDrill does the drills of a cluster that install has just installed. A machine that
// cannot reach the endpoint does none, with a warning; any other failure ends install with
// the exit code of a partial success.
func (i *installation) firstDrill(ctx context.Context) ([]drill.Result, error) {
	results, err := runDrills(ctx, i.fleet, i.in, i.state, i.run, installer.DrillOptions{})
	if as[*drill.UnreachableError](err) {
		i.warnf("no drills: %v; offk8s drill does them, on a machine that reaches it", err)
		return nil, nil
	}
	if err == nil {
		err = drillFailure(results)
	}
	if err != nil {
		err = hintError{err: err, code: exitPartial, hint: "the cluster is installed; when the cause is found, offk8s drill does the drills again"}
	}
	return results, err
}
