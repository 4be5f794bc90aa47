package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// prune undoes, newest first, the recorded steps that are not in Request.Keep; ModeCheck
// only lists them. A step that fails stays in the journal for the next run.
//
// If a kept step, or one of items, wants the same thing, it takes over the state before
// offk8s and nothing is undone: otherwise the leftover would take away what is wanted.
// Things that a kept step needs stay, with their records, and so do the records of packages, which
// reset reports.
func (s *session) prune(ctx context.Context, j *journal, items []step.Item) error {
	kept, left, err := s.divide(j)
	if err != nil {
		return err
	}
	for _, it := range items {
		if j.find(keyOf(it)) != nil {
			continue
		}
		raw, err := json.Marshal(it)
		if err != nil {
			return err
		}
		kept = append(kept, &record{ID: it.ID, Key: keyOf(it), Item: raw, Done: true, Generation: j.generation(), step: it.Step})
	}
	env, runAfter := s.undoEnv()
	env.Kept = []step.Step{} // not nil: this is no reset
	for _, r := range kept {
		env.Kept = append(env.Kept, r.step)
		if r.Previous == nil {
			continue
		}
		if it, err := s.kinds.Decode(r.Previous.Item); err == nil { // else nobody can go back to it
			env.Back = append(env.Back, it.Step)
		}
	}
	failed := 0
	for len(left) > 0 {
		r := left[len(left)-1]
		left = left[:len(left)-1]
		var errs []error
		env.Left = func(st step.Step, prior json.RawMessage) {
			rest, err := j.insert(step.Item{ID: "left/" + st.Describe(), Step: st}, prior, r)
			if errs = append(errs, err); err == nil {
				left = append(left, rest)
			}
		}
		ev, err := s.pruneOne(ctx, j, r, kept, env)
		err = errors.Join(append(errs, err)...)
		if err != nil {
			failed++
		}
		if ev.Type != "" {
			if err := s.out.send(ev); err != nil {
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	runAfter(ctx)
	if failed > 0 {
		return fmt.Errorf("%w: %d steps that are no longer wanted could not be undone, the journal keeps them", ErrStep, failed)
	}
	return nil
}

// divide decodes the records and divides them into those that are planned and the others.
func (s *session) divide(j *journal) (kept, left []*record, err error) {
	for _, r := range j.records {
		planned := slices.Contains(s.req.Keep, r.ID) && !r.Stale
		st, err := s.stepOf(r)
		switch {
		case err != nil && planned:
			// Nobody knows what it needs.
			return nil, nil, fmt.Errorf("%w: %w", ErrStep, err)
		case planned:
			kept = append(kept, r)
		case err != nil || !step.UndoesNothing(st):
			left = append(left, r)
		}
	}
	return kept, left, nil
}

// pruneOne undoes one step. The event has no type if nothing changes on the host.
func (s *session) pruneOne(ctx context.Context, j *journal, r *record, kept []*record, env *step.Env) (Event, error) {
	start := time.Now()
	st, err := s.stepOf(r)
	if err != nil {
		return Event{Type: EventStep, ID: r.ID, State: step.Failed, Reason: err.Error()}, err
	}
	ev := Event{Type: EventStep, ID: r.ID, State: step.Differs, Reason: "no longer wanted: " + st.Describe()}
	all, heirs := heirsOf(r, kept)
	switch {
	case env.Needs(st) && !all:
		return Event{}, nil
	case s.req.Mode == ModeCheck && all:
		return Event{}, nil
	case s.req.Mode == ModeCheck:
		return ev, nil
	case all:
		return Event{}, errors.Join(s.handOver(j, r, kept, heirs), j.undone(r))
	}
	err = errors.Join(s.handOver(j, r, kept, heirs), j.nextGeneration())
	if err == nil {
		_, _, err = s.undoOne(ctx, j, r, env)
	}
	ev.State, ev.Took = step.Changed, time.Since(start)
	if err != nil {
		ev.State, ev.Reason = step.Failed, err.Error()
	}
	return ev, err
}

// heirsOf returns what the kept records take over from r, by their key.
func heirsOf(r *record, kept []*record) (all bool, heirs map[string]json.RawMessage) {
	heirs = map[string]json.RawMessage{}
	for _, k := range kept {
		taken, whole := step.Inherit(k.step, r.step, r.prior())
		if taken != nil {
			heirs[k.Key] = taken
			all = all || whole
		}
	}
	return all, heirs
}

// handOver gives the heirs of r what they take over, in the order of the first changes.
// An heir without a record gets one, in the place of r.
func (s *session) handOver(j *journal, r *record, kept []*record, heirs map[string]json.RawMessage) error {
	for _, k := range kept {
		taken, ok := heirs[k.Key]
		if !ok {
			continue
		}
		now := j.find(k.Key)
		if now == nil {
			k.Prior = taken
			if err := j.write(entry{Op: opRecord, Record: k, Before: r.Key}); err != nil {
				return err
			}
			continue
		}
		first, later := taken, now.Prior
		if slices.Index(j.records, r) > slices.Index(j.records, now) {
			first, later = later, first
		}
		next := *now
		prior, err := merged(k.step, first, later)
		if err != nil {
			return err
		}
		if next.Prior = prior; prior == nil {
			next.Prior = first
		}
		if sameJSON(next.Prior, now.Prior) {
			continue
		}
		if err := j.rewrite(&next); err != nil {
			return err
		}
	}
	return nil
}
