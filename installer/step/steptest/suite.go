package steptest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
)

// Case is a step on a host that differs from it.
type Case struct {
	Name  string
	Step  step.Step
	World *World
	// Done is the state that Apply and a later Check report. The default is step.Changed
	// and step.OK; step.Verified is for a step that changes nothing.
	Done step.State
	// Leaves reports that Undo leaves the files on purpose.
	Leaves bool
	// Kinds lists the step's kind; nil means step.All().
	Kinds step.Kinds
}

// Suite tests the contract of step.Step that the agent relies on: the step survives
// JSON; Check changes nothing; after Apply, which is idempotent, Check reports no
// difference; Undo restores the files; a cancelled Apply returns at once.
func Suite(t *testing.T, c Case) {
	t.Helper()
	t.Run(c.Name, func(t *testing.T) {
		roundTrip(t, c)
		cancelled(t, c)
		before := c.World.Tree(t)
		env := c.World.Env()
		res, err := c.Step.Check(t.Context(), env)
		if err != nil || res.State != step.Differs {
			t.Fatalf("first check: %s %q, error %v; want %s", res.State, res.Reason, err, step.Differs)
		}
		if res.Reason == "" {
			t.Error("first check: no reason")
		}
		if diff := cmp.Diff(before, c.World.Tree(t)); diff != "" {
			t.Errorf("check changed files (-before +after):\n%s", diff)
		}
		applied := apply(t, c, env)
		after := c.World.Tree(t)
		env.Owned = true
		apply2(t, c, env, after)
		prior := applied.Prior
		if len(prior) == 0 {
			prior = json.RawMessage("{}")
		}
		if err := c.Step.Undo(t.Context(), env, prior); err != nil {
			t.Fatalf("undo: %v", err)
		}
		if diff := cmp.Diff(before, c.World.Tree(t)); diff != "" && !c.Leaves {
			t.Errorf("undo did not restore (-before +after):\n%s", diff)
		}
	})
}

func apply(t *testing.T, c Case, env *step.Env) step.Result {
	t.Helper()
	want := c.Done
	if want == "" {
		want = step.Changed
	}
	res, err := c.Step.Apply(t.Context(), env)
	if err != nil || res.State != want {
		t.Fatalf("apply: %s %q, error %v; want %s", res.State, res.Reason, err, want)
	}
	return res
}

// apply2 tests that Check reports no difference, even after a second Apply.
func apply2(t *testing.T, c Case, env *step.Env, after map[string]string) {
	t.Helper()
	want := c.Done
	if want == "" {
		want = step.OK
	}
	for _, round := range []string{"check after apply", "check after the second apply"} {
		res, err := c.Step.Check(t.Context(), env)
		if err != nil || res.State != want {
			t.Fatalf("%s: %s %q, error %v; want %s", round, res.State, res.Reason, err, want)
		}
		if _, err := c.Step.Apply(t.Context(), env); err != nil {
			t.Fatalf("second apply: %v", err)
		}
		if diff := cmp.Diff(after, c.World.Tree(t)); diff != "" {
			t.Fatalf("second apply changed files (-first +second):\n%s", diff)
		}
	}
}

func roundTrip(t *testing.T, c Case) {
	t.Helper()
	kinds := c.Kinds
	if kinds == nil {
		kinds = step.All()
	}
	b, err := json.Marshal(step.Item{ID: "suite/" + c.Step.Kind(), Why: "test", Step: c.Step})
	if err != nil {
		t.Fatal(err)
	}
	it, err := kinds.Decode(b)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if diff := cmp.Diff(c.Step, it.Step); diff != "" {
		t.Errorf("JSON lost something (-sent +received):\n%s", diff)
	}
	if c.Step.Describe() == "" {
		t.Error("no description")
	}
}

// cancelled runs Apply with a cancelled context: it must return, and if it has called a
// program, with the context's error.
func cancelled(t *testing.T, c Case) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := *c.World
	w.Root, w.Calls = t.TempDir(), nil
	w.stamps = map[string]string{}
	done := make(chan error, 1)
	go func() {
		_, err := c.Step.Apply(ctx, w.Env())
		done <- err
	}()
	select {
	case err := <-done:
		if len(w.Calls) > 0 && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled apply: error %v, want the context's", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("cancelled apply does not end")
	}
}
