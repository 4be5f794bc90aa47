package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Progress receives the events of a run as they happen. Its methods are called
// from several goroutines.
type Progress interface {
	// StageStart reports that a stage begins on so many hosts.
	StageStart(name, title string, hosts int)
	// Event reports an event of a host's agent.
	Event(stage, host string, e agent.Event)
	// StageEnd reports that a stage has ended.
	StageEnd(p StageReport)
}

// RunOptions configure Run.
type RunOptions struct {
	// DryRun compares and changes nothing.
	DryRun bool
	// Bundle and Mirror are for the agents, which verify the bundle and fetch from
	// the mirror; an empty Bundle.Root is the plan's.
	Bundle agent.Bundle
	Mirror agent.Endpoint
	// Secrets returns the secret that a reference in the plan names, as
	// pki.Credentials.Resolve does. It may be nil if the plan needs no secret.
	Secrets func(ref string) ([]byte, error)
	// Identity is the one of the credentials behind Secrets, pki.Credentials.Identity.
	Identity string
	// AllowDowngrade accepts a bundle that is older than the one a host has seen.
	AllowDowngrade bool
	// Operator is the "user@machine" that runs the plan, for the journals of the hosts.
	Operator string
	// After holds functions by the name of a stage. Each is called when its stage
	// has ended on all hosts, but not in a dry run; an error ends the run.
	After map[string]func(ctx context.Context) error
	// Progress may be nil.
	Progress Progress
}

// Run runs a plan on the fleet, stage by stage. It returns a complete report even
// with an error. If a host fails, the other hosts finish the stage and the run ends
// with a *PartialError; the next run continues there. If ctx is cancelled, each
// agent finishes its step and stops.
func Run(ctx context.Context, p *Plan, f *Fleet, o RunOptions) (*Report, error) {
	mode := agent.ModeApply
	if o.DryRun {
		mode = agent.ModeCheck
	}
	if o.Bundle.PublicKeys != "" && o.Bundle.Root == "" {
		o.Bundle.Root = p.Root
	}
	r := newRunner(f, mode, o.Progress)
	err := r.run(ctx, p, o)
	r.report.Took = time.Since(r.report.Started)
	return r.report, err
}

// runner runs stages on the hosts of a fleet and reports on them.
type runner struct {
	fleet    *Fleet
	progress Progress
	report   *Report
}

func newRunner(f *Fleet, mode agent.Mode, p Progress) *runner {
	if p == nil {
		p = silent{}
	}
	return &runner{fleet: f, progress: p, report: newReport(f.cluster.Name, mode, names(f.cluster))}
}

// silent discards all events.
type silent struct{}

func (silent) StageStart(string, string, int)   {}
func (silent) Event(_, _ string, _ agent.Event) {}
func (silent) StageEnd(StageReport)             {}

func (r *runner) run(ctx context.Context, p *Plan, o RunOptions) error {
	var differs atomic.Bool
	for i, st := range p.Stages {
		// A step may wait for a change on another host. In a dry run it cannot
		// succeed if a stage before would have made that change; changes of the
		// same stage are for the agent to consider.
		pending := differs.Load()
		err := r.stage(ctx, st, func(ctx context.Context, m *member, h PlanHost, on func(agent.Event)) error {
			req, err := request(h, o)
			if err != nil {
				return err
			}
			req.Mode, req.Cluster, req.Pending = r.report.Mode, p.Cluster, pending
			req.Started, req.Operator, req.Hosts = r.report.Started, o.Operator, members(r.fleet.cluster)
			req.Roles = rolesOf(req.Hosts, h.Host)
			return m.call(ctx, req, func(e agent.Event) {
				if e.Type == agent.EventStep && e.State == step.Differs {
					differs.Store(true)
				}
				on(e)
			})
		})
		if after := o.After[st.Name]; err == nil && after != nil && !o.DryRun {
			if err = after(ctx); err != nil {
				err = fmt.Errorf("after stage %q: %w", st.Name, err)
			}
		}
		if err != nil {
			r.notRun(p.Stages[i+1:])
			return err
		}
	}
	return nil
}

// stage calls work for all hosts of a stage in parallel. It counts the events that
// work passes to on. An error on one host does not stop the others.
func (r *runner) stage(ctx context.Context, st PlanStage, work func(ctx context.Context, m *member, h PlanHost, on func(agent.Event)) error) error {
	start := time.Now()
	hosts := map[string]PlanHost{}
	var order []string
	for _, h := range st.Hosts {
		hosts[h.Host], order = h, append(order, h.Host)
	}
	r.progress.StageStart(st.Name, st.Title, len(order))
	_ = r.fleet.each(ctx, order, func(ctx context.Context, name string) error {
		m, err := r.fleet.member(name)
		if err == nil {
			err = work(ctx, m, hosts[name], func(e agent.Event) { r.event(st.Name, hosts[name], e) })
		}
		if err != nil {
			r.report.fail(name, err)
		}
		return err
	})
	rep := StageReport{Name: st.Name, Title: st.Title, Took: time.Since(start)}
	for _, h := range r.report.Hosts {
		if h.err != nil {
			rep.Failed = append(rep.Failed, h.Host)
		}
	}
	r.report.Stages = append(r.report.Stages, rep)
	r.progress.StageEnd(rep)
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("stage %q: %w", st.Name, err)
	}
	return r.report.errorIn(st.Name)
}

// event reports an event of a host's agent.
func (r *runner) event(stageName string, h PlanHost, e agent.Event) {
	r.progress.Event(stageName, h.Host, e)
	switch e.Type {
	case agent.EventStep:
		s := StepReport{Stage: stageName, ID: e.ID, State: e.State, Reason: e.Reason, Took: e.Took}
		if i := slices.IndexFunc(h.Items, func(it step.Item) bool { return it.ID == e.ID }); i >= 0 {
			s.Kind, s.Describe = h.Items[i].Step.Kind(), h.Items[i].Step.Describe()
		}
		r.report.step(h.Host, s)
	case agent.EventStays:
		r.report.stays(h.Host, e.Stays)
	}
}

// notRun reports the steps of stages that did not begin.
func (r *runner) notRun(stages []PlanStage) {
	for _, st := range stages {
		for _, h := range st.Hosts {
			for _, it := range h.Items {
				r.report.step(h.Host, StepReport{Stage: st.Name, ID: it.ID, Describe: it.Step.Describe(), State: agent.NotRun})
			}
		}
	}
}

// request returns the request for a host's steps, with the secrets that these
// steps name and no others.
func request(h PlanHost, o RunOptions) (agent.Request, error) {
	req := agent.Request{
		Host: h.Host, Identity: o.Identity, Bundle: o.Bundle, Mirror: o.Mirror, AllowDowngrade: o.AllowDowngrade, Secrets: map[string][]byte{},
	}
	for _, it := range h.Items {
		raw, err := json.Marshal(it)
		if err != nil {
			return req, err
		}
		req.Items = append(req.Items, raw)
		user, ok := it.Step.(step.SecretUser)
		if !ok {
			continue
		}
		for _, ref := range user.Secrets() {
			if o.Secrets == nil {
				return req, fmt.Errorf("step %q: %w", it.ID, errors.New("needs a secret and there are none"))
			}
			if req.Secrets[string(ref)], err = o.Secrets(string(ref)); err != nil {
				return req, fmt.Errorf("step %q: secret %q: %w", it.ID, ref, err)
			}
		}
	}
	return req, nil
}

// members returns the hosts of the cluster as the journals record them.
func members(c *manifests.Cluster) []facts.Member {
	var out []facts.Member
	for _, h := range c.Hosts {
		m := facts.Member{
			Name: h.Name, Address: h.Address, Local: h.Local,
			SSHAddress: h.SSH.Address, SSHPort: h.SSH.Port, SSHUser: h.SSH.User, SSHHostKey: h.SSH.HostKey,
		}
		for _, r := range h.Roles {
			m.Roles = append(m.Roles, string(r))
		}
		out = append(out, m)
	}
	return out
}

// rolesOf returns the roles of a host.
func rolesOf(members []facts.Member, host string) []string {
	i := slices.IndexFunc(members, func(m facts.Member) bool { return m.Name == host })
	if i < 0 {
		return nil
	}
	return members[i].Roles
}
