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
	"github.com/offk8s/offk8s/installer/step"
)

// Progress gets to know what happens while it happens. Methods are called from
// several goroutines.
type Progress interface {
	// PhaseStart begins a phase on so many hosts.
	PhaseStart(name, title string, hosts int)
	// Event is something that a host's agent said.
	Event(phase, host string, e agent.Event)
	// PhaseEnd ends a phase.
	PhaseEnd(p PhaseReport)
}

// silent is the Progress of those who want none.
type silent struct{}

func (silent) PhaseStart(string, string, int)   {}
func (silent) Event(_, _ string, _ agent.Event) {}
func (silent) PhaseEnd(PhaseReport)             {}

// RunOptions say how a plan is run.
type RunOptions struct {
	// DryRun compares and changes nothing.
	DryRun bool
	// Bundle and Mirror are what the agents verify and fetch from; Bundle.Root is
	// the plan's own when empty.
	Bundle agent.Bundle
	Mirror agent.Mirror
	// Secrets resolves the references in the plan, pki.Store.Resolve.
	Secrets func(ref string) ([]byte, error)
	// AllowDowngrade accepts a bundle older than a host has seen.
	AllowDowngrade bool
	// After is called when a phase is done on all its hosts, by phase name, and
	// not in a dry run; an error stops the run.
	After    map[string]func(ctx context.Context) error
	Progress Progress
}

// Run runs a plan on the fleet, phase by phase. The report is complete also
// with an error. When hosts fail, the phase goes on on the others and the run
// stops after it with a *PartialError; running again goes on where it stopped.
// When ctx ends, agents finish what they do at the moment and stop.
func Run(ctx context.Context, p *Plan, f *Fleet, o RunOptions) (*Report, error) {
	r := &runner{plan: p, fleet: f, o: o, mode: agent.ModeApply}
	if o.DryRun {
		r.mode = agent.ModeCheck
	}
	if r.o.Progress == nil {
		r.o.Progress = silent{}
	}
	if r.o.Bundle.PublicKeys != "" && r.o.Bundle.Root == "" {
		r.o.Bundle.Root = p.Root
	}
	r.report = newReport(p.Cluster, r.mode, names(f.cluster))
	start := time.Now()
	err := r.run(ctx)
	r.report.Took = time.Since(start)
	return r.report, err
}

type runner struct {
	plan    *Plan
	fleet   *Fleet
	o       RunOptions
	mode    agent.Mode
	report  *Report
	pending atomic.Bool
}

func (r *runner) run(ctx context.Context) error {
	for i, ph := range r.plan.Phases {
		if err := r.phase(ctx, ph); err != nil {
			r.notRun(r.plan.Phases[i+1:])
			return err
		}
		if after := r.o.After[ph.Name]; after != nil && !r.o.DryRun {
			if err := after(ctx); err != nil {
				r.notRun(r.plan.Phases[i+1:])
				return fmt.Errorf("after phase %q: %w", ph.Name, err)
			}
		}
	}
	return nil
}

// phase runs one phase on all its hosts.
func (r *runner) phase(ctx context.Context, ph PlanPhase) error {
	start := time.Now()
	var hosts []string
	for _, h := range ph.Hosts {
		hosts = append(hosts, h.Host)
	}
	r.o.Progress.PhaseStart(ph.Name, ph.Title, len(hosts))
	// What one host would change, another may wait for in the same phase; only
	// what was pending before the phase counts, and that in the agent itself.
	pending := r.pending.Load()
	_ = r.fleet.each(ctx, hosts, func(ctx context.Context, name string) error {
		i := slices.Index(hosts, name)
		if err := r.onHost(ctx, ph.Name, ph.Hosts[i], pending); err != nil {
			r.report.fail(name, err)
			return err
		}
		return nil
	})
	rep := PhaseReport{Name: ph.Name, Title: ph.Title, Took: time.Since(start)}
	for _, h := range r.report.Hosts {
		if h.err != nil {
			rep.Failed = append(rep.Failed, h.Host)
		}
	}
	r.report.Phases = append(r.report.Phases, rep)
	r.o.Progress.PhaseEnd(rep)
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("phase %q: %w", ph.Name, err)
	}
	return r.report.errorIn(ph.Name)
}

// onHost sends a host its steps of a phase and counts what comes back.
func (r *runner) onHost(ctx context.Context, phaseName string, h PlanHost, pending bool) error {
	m, err := r.fleet.member(h.Host)
	if err != nil {
		return err
	}
	req, err := r.request(h, pending)
	if err != nil {
		return err
	}
	steps := map[string]step.Item{}
	for _, it := range h.Items {
		steps[it.ID] = it
	}
	return m.call(ctx, req, func(e agent.Event) {
		r.o.Progress.Event(phaseName, h.Host, e)
		if e.Type != agent.EventStep {
			return
		}
		s := StepReport{Phase: phaseName, ID: e.ID, State: e.State, Reason: e.Reason, Took: e.Took}
		if it, ok := steps[e.ID]; ok {
			s.Describe = it.Step.Describe()
		}
		if e.State == step.Differs {
			r.pending.Store(true)
		}
		r.report.step(h.Host, s)
	})
}

// request has the secrets that the host's own steps name, and no others.
func (r *runner) request(h PlanHost, pending bool) (agent.Request, error) {
	req := agent.Request{
		Mode: r.mode, Cluster: r.plan.Cluster, Host: h.Host, Bundle: r.o.Bundle, Mirror: r.o.Mirror,
		AllowDowngrade: r.o.AllowDowngrade, Pending: pending, Secrets: map[string][]byte{},
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
			if r.o.Secrets == nil {
				return req, fmt.Errorf("step %q: %w", it.ID, errors.New("needs a secret and there are none"))
			}
			if req.Secrets[string(ref)], err = r.o.Secrets(string(ref)); err != nil {
				return req, fmt.Errorf("step %q: secret %q: %w", it.ID, ref, err)
			}
		}
	}
	return req, nil
}

// notRun counts the steps of phases that were never begun.
func (r *runner) notRun(phases []PlanPhase) {
	for _, ph := range phases {
		for _, h := range ph.Hosts {
			for _, it := range h.Items {
				r.report.step(h.Host, StepReport{Phase: ph.Name, ID: it.ID, Describe: it.Step.Describe(), State: agent.NotRun})
			}
		}
	}
}
