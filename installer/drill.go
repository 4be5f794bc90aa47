package installer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/drill"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// DrillOptions configure Fleet.Drill.
type DrillOptions struct {
	// Only are the names of the drills to do, see stage.DrillNames; empty means all.
	Only []string
	// Limit replaces the limits of all drills, unless it is 0.
	Limit time.Duration
	// Identity and Operator are as in RunOptions.
	Identity string
	Operator string
	// Result, if set, receives each result as it comes.
	Result func(drill.Result)
	// Progress may be nil.
	Progress Progress
}

// Drill stops parts of the cluster one after the other, while w writes, and starts them
// again: see drill.Run. The hosts should be locked (Lock).
func (f *Fleet) Drill(ctx context.Context, in stage.Input, w *drill.Writer, o DrillOptions) ([]drill.Result, error) {
	if o.Progress == nil {
		o.Progress = silent{}
	}
	d := &driller{fleet: f, in: in, hosts: map[string]manifests.Host{}, o: o, started: time.Now().UTC()}
	for _, h := range stage.Drilled(in.Cluster) {
		d.hosts[h.Name] = h
	}
	end := StageReport{Name: "drill", Title: "the cluster works without one of its parts"}
	o.Progress.StageStart(end.Name, end.Title, len(d.hosts))
	drills, err := d.plan(ctx)
	if err != nil {
		return nil, err
	}
	results, err := drill.Run(ctx, drills, d, w, o.Result)
	for _, r := range results {
		if r.Failed() {
			end.Failed = append(end.Failed, r.Host)
		}
	}
	end.Took = time.Since(d.started)
	o.Progress.StageEnd(end)
	return results, err
}

// driller is the drill.Cluster of a fleet.
type driller struct {
	fleet   *Fleet
	in      stage.Input
	hosts   map[string]manifests.Host
	o       DrillOptions
	started time.Time
}

// plan looks which host is the active balancer, and which is the leader of etcd.
func (d *driller) plan(ctx context.Context) ([]stage.Drill, error) {
	d.in.Facts = maps.Clone(d.in.Facts)
	if d.in.Facts == nil {
		d.in.Facts = map[string]facts.Facts{}
	}
	for _, h := range d.in.Cluster.HostsWith(manifests.RoleLoadBalancer) {
		err := d.call(ctx, h.Name, agent.Request{Mode: agent.ModeFacts}, func(e agent.Event) {
			if e.Facts != nil {
				d.in.Facts[h.Name] = *e.Facts
			}
		})
		if err != nil {
			return nil, &HostError{Host: h.Name, Err: err}
		}
	}
	leader := ""
	for _, h := range d.in.Cluster.HostsWith(manifests.RoleEtcd) {
		// An error comes again from the gates.
		_ = d.observe(ctx, h.Name, agent.ModeCheck, []step.Item{stage.LeadsEtcd(h)}, func(e agent.Event) {
			if e.State == step.Verified {
				leader = h.Name
			}
		})
	}
	var out []stage.Drill
	for _, x := range stage.Drills(d.in, leader) {
		if len(d.o.Only) > 0 && !slices.Contains(d.o.Only, x.Name) {
			continue
		}
		if d.o.Limit > 0 {
			x.Limit = d.o.Limit
		}
		out = append(out, x)
	}
	return out, nil
}

// Healthy observes all hosts at the same time.
func (d *driller) Healthy(ctx context.Context, within time.Duration) error {
	return d.fleet.each(ctx, slices.Sorted(maps.Keys(d.hosts)), func(ctx context.Context, name string) error {
		return d.observe(ctx, name, agent.ModeApply, stage.Working(d.in, d.hosts[name], within), func(agent.Event) {})
	})
}

// observe makes observations on a host.
func (d *driller) observe(ctx context.Context, host string, mode agent.Mode, items []step.Item, on func(agent.Event)) error {
	req, err := request(PlanHost{Host: host, Items: items}, RunOptions{Identity: d.o.Identity})
	if err != nil {
		return err
	}
	req.Mode = mode
	return d.call(ctx, host, req, func(e agent.Event) {
		d.o.Progress.Event("drill", host, e)
		if e.Type == agent.EventStep {
			on(e)
		}
	})
}

func (d *driller) call(ctx context.Context, host string, req agent.Request, on func(agent.Event)) error {
	m, err := d.fleet.member(host)
	if err != nil {
		return err
	}
	req.Cluster, req.Host, req.Identity = d.in.Cluster.Name, host, d.o.Identity
	req.Started, req.Operator = d.started, d.o.Operator
	return m.call(ctx, req, on)
}

// Stop stops the units of a drill.
func (d *driller) Stop(ctx context.Context, x stage.Drill) error {
	return d.units(ctx, agent.ModeStop, x)
}

const (
	// startAttempts are how often Start tries to reach a host, with pauses of startPause.
	startAttempts = 6
	startPause    = 5 * time.Second
)

// Start starts the units of a drill. If the connection is lost, it connects again.
func (d *driller) Start(ctx context.Context, x stage.Drill) error {
	for attempt := 1; ; attempt++ {
		err := d.units(ctx, agent.ModeStart, x)
		if err == nil {
			return nil
		}
		if m, merr := d.fleet.member(x.Host); merr != nil || !m.isLost() || attempt == startAttempts {
			return fmt.Errorf("%s not started again; the host does it within %s: %w", strings.Join(x.Units, ", "), agent.StopLimit, err)
		}
		time.Sleep(startPause)
	}
}

// units stops or starts the units of a drill, and shows it as a step.
func (d *driller) units(ctx context.Context, mode agent.Mode, x stage.Drill) error {
	id, began := fmt.Sprintf("drill/%s-%s", mode, x.Name), time.Now()
	d.o.Progress.Event("drill", x.Host, agent.Event{Type: agent.EventStart, ID: id})
	err := d.call(ctx, x.Host, agent.Request{Mode: mode, Units: x.Units}, func(e agent.Event) { d.o.Progress.Event("drill", x.Host, e) })
	e := agent.Event{Type: agent.EventStep, ID: id, State: step.Changed, Reason: strings.Join(x.Units, ", "), Took: time.Since(began)}
	if err != nil {
		e.State, e.Reason = step.Failed, err.Error()
		err = &HostError{Host: x.Host, Err: err}
	}
	d.o.Progress.Event("drill", x.Host, e)
	return err
}
