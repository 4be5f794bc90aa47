package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
)

// work checks or applies the items in order and stops at the first failure.
func (s *session) work(ctx context.Context, j *journal) error {
	items, err := s.decode()
	if err != nil {
		return err
	}
	if err := s.useBundle(ctx, j); err != nil {
		return err
	}
	if s.req.Keep != nil {
		s.lookAgain()
		return s.prune(ctx, j, items)
	}
	pending := s.req.Pending
	defer s.keep(items)()
	if !s.settled(ctx) {
		s.lookAgain()
		s.lookAhead(ctx, j, s.req.Items, items, false)
	}
	defer func() {
		if s.ahead != nil && !s.ahead.early {
			s.lookAgain()
		}
	}()
	for i, it := range items {
		if err := s.out.send(Event{Type: EventStart, ID: it.ID}); err != nil {
			return err
		}
		start := time.Now()
		l := s.look(ctx, j, s.req.Items[i], it)
		if s.req.Mode == ModeApply && l.changes() {
			s.lookAgain()
		}
		res, err := s.one(ctx, j, it, l, pending)
		took := max(time.Since(start), l.took)
		if err != nil {
			res = step.Result{State: step.Failed, Reason: err.Error()}
		}
		pending = pending || res.State == step.Differs
		sendErr := s.out.send(Event{Type: EventStep, ID: it.ID, State: res.State, Reason: res.Reason, Took: took})
		if err != nil || sendErr != nil {
			for _, rest := range items[i+1:] {
				sendErr = errors.Join(sendErr, s.out.send(Event{Type: EventStep, ID: rest.ID, State: NotRun}))
			}
			if errors.Is(err, reader.ErrMismatch) { // an artifact from the mirror
				err = fmt.Errorf("%w: %w", ErrVerify, err)
			}
			if err != nil {
				err = fmt.Errorf("%w: %q: %w", ErrStep, it.ID, err)
			}
			return errors.Join(err, sendErr)
		}
	}
	return nil
}

// decode decodes all items before the first is applied, and refuses duplicate IDs,
// which the journal could not distinguish.
func (s *session) decode() ([]step.Item, error) {
	var items []step.Item
	seen := map[string]bool{}
	var errs []error
	for _, raw := range s.req.Items {
		it, err := s.kinds.Decode(raw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if seen[it.ID] {
			errs = append(errs, fmt.Errorf("step %q: duplicate ID", it.ID))
		}
		seen[it.ID] = true
		items = append(items, it)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return items, nil
}

// useBundle verifies the bundle and, in ModeApply, records the bundle and the cluster
// on the host.
func (s *session) useBundle(ctx context.Context, j *journal) error {
	if s.req.Bundle == (Bundle{}) {
		return nil
	}
	c, err := s.verified(ctx)
	if err != nil {
		return err
	}
	s.env.Fetch, s.env.FetchImage = c.open, c.openImage
	name, seq := c.Lock.Name, c.Lock.Sequence
	if err := checkRollback(s.env, name, seq, s.req.AllowDowngrade); err != nil {
		return err
	}
	if s.req.Mode != ModeApply {
		return nil
	}
	components := c.Lock.Components()
	if err := Guard(j.owner, s.req.Identity, components); err != nil {
		return err
	}
	if err := c.keepHistories(); err != nil {
		return err
	}
	if err := setRollbackMark(s.env, name, rollbackMark{seq, c.Root.String()}); err != nil {
		return err
	}
	return j.setOwner(facts.Installed{
		Cluster: s.req.Cluster, Host: s.req.Host, Bundle: name, Root: c.Root.String(), Sequence: seq,
		Identity: s.req.Identity, Components: components, Roles: s.req.Roles, Hosts: s.req.Hosts,
	})
}

// one reports on one item or applies it, after a look at it.
func (s *session) one(ctx context.Context, j *journal, it step.Item, l *look, pending bool) (step.Result, error) {
	if err := context.Cause(ctx); err != nil {
		return step.Result{}, err
	}
	if s.req.Mode == ModeCheck {
		if l.err != nil && pending {
			return step.Result{State: step.Differs, Reason: "after earlier changes: " + l.err.Error()}, nil
		}
		if l.res.State == step.OK && l.changes() {
			// A stage with an order applies only what differs; prune relies on the journal.
			return step.Result{State: step.Differs, Reason: "it is as wanted, but the journal has it as unfinished or as a step of an earlier plan"}, nil
		}
		return l.res, l.err
	}
	switch {
	case !l.changes():
		return l.res, l.err
	case l.res.State == step.Differs:
		return s.apply(ctx, j, it, l.env, l.inherited, l.res)
	case l.own != nil: // an agent died after the change, or an earlier plan is back
		fresh := *l.own
		fresh.Stale, fresh.Done = false, true
		return l.res, j.rewrite(&fresh)
	}
	return l.res, j.adopt(it, l.inherited)
}

// inherited returns the prior of the first step in the journal that has changed the
// same thing as a new one, and whether the new one takes over all of it.
func (s *session) inherited(j *journal, it step.Item) (prior json.RawMessage, all bool) {
	for _, r := range j.records {
		left, err := s.stepOf(r)
		if err != nil {
			continue // of another version, and nothing to take over
		}
		if prior, all = step.Inherit(it.Step, left, r.prior()); prior != nil {
			return prior, all
		}
	}
	return nil, false
}

// apply makes the change between its two journal entries, and checks again.
func (s *session) apply(ctx context.Context, j *journal, it step.Item, env *step.Env, inherited json.RawMessage, checked step.Result) (step.Result, error) {
	if o, ok := it.Step.(step.Observer); ok && o.Observes() {
		return it.Step.Apply(ctx, env)
	}
	if err := j.intent(it, inherited, checked.Prior); err != nil {
		return step.Result{}, err
	}
	res, err := it.Step.Apply(ctx, env)
	if err != nil {
		return res, err
	}
	if err := j.done(it, res); err != nil {
		return res, err
	}
	if res.State != step.Changed || ctx.Err() != nil { // the next run checks again
		return res, nil
	}
	env.Owned, env.Prior = true, j.find(keyOf(it)).Prior
	again, err := it.Step.Check(ctx, env)
	if err != nil {
		return again, fmt.Errorf("check after the change: %w", err)
	}
	if again.State == step.Differs {
		return again, fmt.Errorf("still differs after the change: %s", again.Reason)
	}
	// The reason for the change is more useful than the fact.
	if checked.Reason != "" {
		res.Reason = checked.Reason
	}
	return res, nil
}
