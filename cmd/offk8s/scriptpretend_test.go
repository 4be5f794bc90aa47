package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// scriptPretend: pretend NAME… makes hosts pretend to do every step: nothing changes but
// their journals. From the first such step, a host has a systemd, as one of the command
// installed.
func scriptPretend(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "pretend NAME…, after host NAME")
	for _, name := range args {
		h := of(ts).hosts[name]
		need(ts, h != nil, "pretend NAME…, after host NAME")
		h.kinds = step.Kinds{}
		for kind, build := range step.All().With(kube.Kinds()) {
			h.kinds[kind] = func() step.Step { return &pretended{Step: build(), host: h} }
		}
	}
}

// pretended is a step that a host pretends to do.
type pretended struct {
	step.Step
	host *storyHost
	done bool
}

func (p *pretended) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, p.Step) }

func (p *pretended) MarshalJSON() ([]byte, error) { return json.Marshal(p.Step) }

// Observes implements step.Observer.
func (p *pretended) Observes() bool {
	o, ok := p.Step.(step.Observer)
	return ok && o.Observes()
}

// Check implements step.Step. The journal of the host has the steps that were done.
func (p *pretended) Check(_ context.Context, env *step.Env) (step.Result, error) {
	switch {
	case p.Observes():
		return step.Result{State: step.Verified}, nil
	case p.done, env.Owned:
		return step.Result{State: step.OK}, nil
	}
	return step.Result{State: step.Differs}, nil
}

// Apply implements step.Step.
func (p *pretended) Apply(context.Context, *step.Env) (step.Result, error) {
	p.done = true
	p.host.systemd.CompareAndSwap(nil, steptest.NewSystemd("etcd.service"))
	return step.Result{State: step.Changed}, nil
}

// Undo implements step.Step.
func (p *pretended) Undo(context.Context, *step.Env, json.RawMessage) error {
	return errors.New("only pretended")
}
