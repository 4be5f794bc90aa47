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
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
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
	// Replan, if set, returns the plan without the hosts in away: optional ones that
	// failed, and those that were lost while they had no work. An error ends the run. Without
	// Replan, the run ends at the stage in which a host failed.
	Replan func(away map[string]bool) (*Plan, error)
	// After holds functions by the name of a stage. Each is called when its stage
	// has ended on all hosts, but not in a dry run; an error ends the run.
	After map[string]func(ctx context.Context) error
	// Progress may be nil.
	Progress Progress
}

// Run runs a plan on the fleet, stage by stage, in the order that each stage gives. It
// returns a complete report even with an error. If a host fails, the hosts that work at
// the same time finish the stage. Then the run ends, or goes on without the host if it
// is optional. The error is a *PartialError in both cases; the next run continues
// there. If ctx is cancelled, each agent finishes its step and stops.
func Run(ctx context.Context, p *Plan, f *Fleet, o RunOptions) (*Report, error) {
	mode := agent.ModeApply
	if o.DryRun {
		mode = agent.ModeCheck
	}
	return run(ctx, p, f, mode, o)
}

func run(ctx context.Context, p *Plan, f *Fleet, mode agent.Mode, o RunOptions) (*Report, error) {
	if o.Bundle.PublicKeys != "" && o.Bundle.Root == "" {
		o.Bundle.Root = p.Root
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	r := &runner{fleet: f, progress: o.Progress, o: o, plan: p, report: newReport(f.cluster.Name, mode, names(f.cluster))}
	for name, err := range f.Missing() {
		r.report.fail(name, "connect", err)
	}
	err := r.run(ctx)
	r.report.Took = time.Since(r.report.Started)
	return r.report, err
}

// runner runs stages on the hosts of a fleet and reports on them.
type runner struct {
	fleet    *Fleet
	progress Progress
	report   *Report
	o        RunOptions
	plan     *Plan
	at       int // the stage that runs
	// held are the gates that held since the report had so many changes, see leads.
	held    map[string]bool
	changed int
	// differs reports that a step of this run changes something, moved that a host may have
	// changed since lookAhead.
	differs, moved atomic.Bool
}

// silent discards all events.
type silent struct{}

func (silent) StageStart(string, string, int)   {}
func (silent) Event(_, _ string, _ agent.Event) {}
func (silent) StageEnd(StageReport)             {}

func (r *runner) run(ctx context.Context) error {
	failed := len(r.report.failed())
	r.lookAhead(ctx)
	for i := 0; i < len(r.plan.Stages); i++ {
		r.at = i
		st := r.plan.Stages[i]
		err := r.stage(ctx, st)
		again := errors.Is(err, errLost)
		switch {
		case again:
			err = nil
		case err == nil:
			err = r.between(ctx, i)
		}
		if now := r.report.failed(); err == nil && len(now) > failed {
			failed = len(now)
			done := i + 1
			if again {
				done, i = i, i-1
			}
			err = r.replan(now, done)
		}
		if err != nil {
			r.notRun(r.plan.Stages[r.at+1:])
			return err
		}
	}
	r.report.Done = true
	return r.report.err()
}

// between does what follows the stage i: its function, and a look for hosts that were lost.
func (r *runner) between(ctx context.Context, i int) error {
	name := r.plan.Stages[i].Name
	if after := r.o.After[name]; after != nil && !r.o.DryRun {
		if err := after(ctx); err != nil {
			return fmt.Errorf("after stage %q: %w", name, err)
		}
	}
	if r.o.Replan != nil && i+1 < len(r.plan.Stages) {
		r.rollCall(ctx, r.plan.Stages[i+1].Name)
	}
	return nil
}

// leaving reports whether hosts or roles have yet to leave. Until then the journals
// record them, so that a later run finishes it.
func (r *runner) leaving() bool {
	return slices.ContainsFunc(r.plan.Stages[r.at:], func(st PlanStage) bool { return st.leaves })
}

// replan replaces the stages after the first done ones by those without the failed hosts.
func (r *runner) replan(failed map[string]bool, done int) error {
	if r.o.Replan == nil {
		return r.report.err()
	}
	next, err := r.o.Replan(failed)
	if err != nil {
		return errors.Join(r.report.err(), err)
	}
	for _, st := range r.plan.Stages[r.at+1:] {
		st.Hosts = slices.DeleteFunc(slices.Clone(st.Hosts), func(h PlanHost) bool { return !failed[h.Host] })
		st.AnyOf = false
		r.notRun([]PlanStage{st})
	}
	// A stage may have lost all its hosts.
	rest := slices.Clone(next.Stages)
	for i, st := range r.plan.Stages {
		if i < done {
			rest = slices.DeleteFunc(rest, func(x PlanStage) bool { return x.Name == st.Name })
		}
	}
	plan := *r.plan
	plan.Stages = append(slices.Clone(r.plan.Stages[:done]), rest...)
	r.plan = &plan
	return nil
}

// work sends a host its part of a stage. pending: an earlier stage has changes to make,
// so that a step that waits for them cannot succeed in a dry run.
func (r *runner) work(ctx context.Context, m *member, st PlanStage, h PlanHost, mode agent.Mode, pending bool, on func(agent.Event)) error {
	if st.Work == stage.Undo && r.o.DryRun {
		on(agent.Event{Type: agent.EventStep, ID: st.Name + "/" + h.Host, State: step.Differs, Reason: "it would be restored"})
		return nil
	}
	if st.Work == stage.Undo {
		r.moved.Store(true)
		req := agent.Request{Mode: agent.ModeUndo, Cluster: r.plan.Cluster, Host: h.Host, Identity: r.o.Identity}
		if err := m.call(ctx, req, on); err != nil {
			return err
		}
		return removeAgent(ctx, m)
	}
	req, err := request(h, r.o)
	if err != nil {
		return err
	}
	if st.Work == stage.Prune {
		var items []step.Item
		items, req.Keep = r.plan.keep(h.Host)
		// Without their secrets, since they are not applied.
		for _, it := range items {
			raw, err := json.Marshal(it)
			if err != nil {
				return err
			}
			req.Items = append(req.Items, raw)
		}
	}
	req.Mode, req.Pending, req.Fresh = mode, pending, r.moved.Load()
	if r.plan.patience > 0 {
		req.Patience, req.Awaits = r.plan.patience, awaited(h.Items)
	}
	r.sign(&req)
	return m.call(ctx, req, func(e agent.Event) {
		if e.Type == agent.EventStep {
			if (e.State == step.Failed || e.State == agent.NotRun) && errors.Is(context.Cause(ctx), errLost) {
				return // the stage begins again
			}
			switch e.State {
			case step.OK, step.Verified, step.Skipped:
			case step.Differs:
				r.differs.Store(true)
				r.moved.Store(true)
			default:
				r.moved.Store(true)
			}
		}
		on(e)
	})
}

// sign adds to a request what all requests of the run have for a host.
func (r *runner) sign(req *agent.Request) {
	req.Cluster, req.Started, req.Operator = r.plan.Cluster, r.report.Started, r.o.Operator
	hosts := r.plan.members
	if r.leaving() {
		hosts = r.plan.leavers
	}
	req.Roles = rolesOf(hosts, req.Host)
	// Workers need not know all hosts, so that the cost of a host does not grow with the cluster.
	if stage.Records(req.Roles) {
		req.Hosts = hosts
	}
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
		r.report.stays(h.Host, e.Stays, e.Gone)
	}
}

// notRun reports the steps of stages that did not begin.
func (r *runner) notRun(stages []PlanStage) {
	for _, st := range stages {
		for _, h := range st.Hosts {
			for _, it := range h.Items {
				r.report.step(h.Host, StepReport{Stage: st.Name, ID: it.ID, Describe: it.Step.Describe(), State: agent.NotRun})
			}
			if st.AnyOf {
				break
			}
		}
	}
}

// awaited returns the hosts that steps wait for, by the ID of the step.
func awaited(items []step.Item) map[string][]string {
	out := map[string][]string{}
	for _, it := range items {
		if len(it.Awaits) > 0 {
			out[it.ID] = it.Awaits
		}
	}
	return out
}

// request returns the request for a host's steps, with the secrets that these
// steps name and no others.
func request(h PlanHost, o RunOptions) (agent.Request, error) {
	req := agent.Request{
		Host: h.Host, Identity: o.Identity, Bundle: o.Bundle, Mirror: o.Mirror, AllowDowngrade: o.AllowDowngrade,
	}
	for _, it := range h.Items {
		raw, err := json.Marshal(it)
		if err != nil {
			return req, err
		}
		req.Items = append(req.Items, raw)
	}
	var err error
	req.Secrets, err = secretsOf(h.Items, o.Secrets)
	return req, err
}

// secretsOf returns the secrets that the steps name, by reference.
func secretsOf(items []step.Item, resolve func(ref string) ([]byte, error)) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, it := range items {
		user, ok := it.Step.(step.SecretUser)
		if !ok {
			continue
		}
		for _, ref := range user.Secrets() {
			if resolve == nil {
				return nil, fmt.Errorf("step %q: %w", it.ID, errors.New("needs a secret and there are none"))
			}
			value, err := resolve(string(ref))
			if err != nil {
				return nil, fmt.Errorf("step %q: secret %q: %w", it.ID, ref, err)
			}
			out[string(ref)] = value
		}
	}
	return out, nil
}

// rolesOf returns the roles of a host.
func rolesOf(members []facts.Member, host string) []string {
	i := slices.IndexFunc(members, func(m facts.Member) bool { return m.Name == host })
	if i < 0 {
		return nil
	}
	return members[i].Roles
}
