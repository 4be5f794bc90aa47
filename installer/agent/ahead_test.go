package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// In a run that changes nothing, equal program calls of one request are one call.
func TestEqualChecksAreOneCall(t *testing.T) {
	w := newWorld(t, 1)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return steptest.Say("yes") }
	items := []step.Item{{ID: "a", Step: &step.File{Path: "/etc/a", Content: "a"}}}
	for i := range 20 {
		items = append(items, step.Item{ID: fmt.Sprint("look", i), Step: &step.Command{
			Argv: []string{"change"}, CheckArgv: []string{"look"}, Env: []string{fmt.Sprint("HALF=", i%2)},
		}})
	}
	for _, mode := range []agent.Mode{agent.ModeApply, agent.ModeApply, agent.ModeCheck} {
		w.Calls = nil
		events, err := w.do(w.request(mode, items...))
		if err != nil {
			t.Fatal(err)
		}
		if got := states(events); len(got) != len(items) {
			t.Errorf("%d states: %v", len(got), got)
		}
	}
	if len(w.Calls) != 2 {
		t.Errorf("%d calls, want one for each environment: %v", len(w.Calls), w.Calls)
	}
}

// A check made before a change does not count after it.
func TestChangeEndsLookingAhead(t *testing.T) {
	w := newWorld(t, 1)
	probes := map[string]int{}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		_, missing := os.Stat(filepath.Join(w.Root, "etc/a"))
		_, unchanged := os.Stat(filepath.Join(w.Root, "etc/b"))
		probes[c.Argv[0]]++
		switch {
		case c.Argv[0] == "change":
			w.Write(t, "etc/b", "b", 0o644)
		case (missing == nil) && (unchanged != nil):
			return steptest.Exit(c.Argv, 1, "the file asks for a change")
		}
		return steptest.Say("")
	}
	items := []step.Item{
		{ID: "first", Step: &step.File{Path: "/etc/0", Content: "0"}},
		{ID: "a", Step: &step.File{Path: "/etc/a", Content: "a"}},
		{ID: "b", Step: &step.Command{Argv: []string{"change"}, CheckArgv: []string{"look"}}},
	}
	if _, err := w.do(w.request(agent.ModeApply, items...)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"etc/a", "etc/b"} {
		if err := os.Remove(filepath.Join(w.Root, f)); err != nil {
			t.Fatal(err)
		}
	}
	clear(probes)
	events, err := w.do(w.request(agent.ModeApply, items...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"first ok", "a changed", "b changed"}, states(events)); diff != "" {
		t.Error(diff)
	}
	if probes["change"] != 1 {
		t.Errorf("calls %v, want one change", probes)
	}
}

// meeting is a Runner whose programs end when two of them run.
type meeting struct {
	mu   sync.Mutex
	here int
	both chan struct{}
}

func (m *meeting) Run(context.Context, step.Cmd) (step.Output, error) {
	m.mu.Lock()
	if m.here++; m.here == 2 {
		close(m.both)
	}
	m.mu.Unlock()
	select {
	case <-m.both:
		return steptest.Say("")
	case <-time.After(time.Minute):
		return step.Output{}, fmt.Errorf("nobody else came")
	}
}

func TestChecksRunAtTheSameTime(t *testing.T) {
	w := newWorld(t, 1)
	items := []step.Item{
		{ID: "a", Step: &step.Command{Argv: []string{"a"}, Verify: true}},
		{ID: "b", Step: &step.Command{Argv: []string{"b"}, Verify: true}},
	}
	w.runner = &meeting{both: make(chan struct{})}
	events, err := w.do(w.request(agent.ModeCheck, items...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a verified", "b verified"}, states(events)); diff != "" {
		t.Error(diff)
	}
}

// loud is a step whose check has something to say.
type loud struct{ step.Command }

func (*loud) Kind() string { return "loud" }

func (l *loud) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	env.Log.Warn("look at this")
	return l.Command.Check(ctx, env)
}

// A look before the request of its stage counts if nothing can have changed since, and only
// if it found nothing to do.
func TestLooksAheadOfRequests(t *testing.T) {
	look := &step.Command{Argv: []string{"change"}, CheckArgv: []string{"look"}}
	for name, tt := range map[string]struct {
		step  step.Step // of the second stage, look if it is nil
		drift bool      // the first stage has something to change
		after func(w *world, o *operator, second *agent.Request)
		want  string
	}{
		"nothing changes":                   {want: "b ok"},
		"the first stage changes something": {drift: true, want: "b changed"},
		"another host has changed": {want: "b changed", after: func(_ *world, _ *operator, second *agent.Request) {
			second.Fresh = true
		}},
		"a long time ago": {want: "b changed", after: func(*world, *operator, *agent.Request) { time.Sleep(31 * time.Second) }},
		"a request failed": {want: "b changed", after: func(w *world, o *operator, _ *agent.Request) {
			if _, err := o.ask(w.request("strange")); err == nil {
				w.t.Error("no error")
			}
		}},
		"a unit was stopped": {want: "b changed", after: func(w *world, o *operator, _ *agent.Request) {
			_, _ = o.ask(w.request(agent.ModeStart))
		}},
		"it has something to say": {step: &loud{*look}, want: "b changed"},
		"another value of its secret": {step: &step.File{Path: "/etc/b", Secret: "word"}, want: "b changed", after: func(_ *world, _ *operator, second *agent.Request) {
			second.Secrets["word"] = []byte("new")
		}},
		"the same value of its secret": {step: &step.File{Path: "/etc/b", Secret: "word"}, want: "b ok"},
		"another step": {want: "b changed", after: func(w *world, _ *operator, second *agent.Request) {
			other := *look
			other.Env = []string{"X=1"}
			*second = w.request(agent.ModeApply, item("b", &other))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.bundle = agent.Bundle{} // the mirror is outside of the bubble
			w.kinds = step.All()
			w.kinds["loud"] = func() step.Step { return &loud{} }
			w.Secrets = map[string]string{"word": "old"}
			synctest.Test(t, func(t *testing.T) {
				w.t = t
				moved := false
				w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
					if c.Argv[0] == "look" && moved {
						moved = false
						return steptest.Exit(c.Argv, 1, "looked again")
					}
					return steptest.Say("")
				}
				if tt.step == nil {
					tt.step = look
				}
				a, b := item("a", &step.File{Path: "/etc/a", Content: "a"}), item("b", tt.step)
				first, second := w.request(agent.ModeApply, a), w.request(agent.ModeApply, b)
				o := w.operator()
				ask := func(req agent.Request, want ...string) {
					t.Helper()
					events, err := o.ask(req)
					if diff := cmp.Diff(want, states(events)); diff != "" || err != nil {
						t.Errorf("error %v, states (-want +got):\n%s", err, diff)
					}
				}
				moved = true
				ask(first, "a changed")
				ask(second, "b changed")
				if tt.drift {
					w.Write(t, "etc/a", "drift", 0o644)
				}
				ask(w.request(agent.ModeAhead, a, b))
				synctest.Wait()
				moved = true
				if tt.after != nil {
					tt.after(w, o, &second)
				}
				ask(first, map[bool]string{false: "a ok", true: "a changed"}[tt.drift])
				ask(second, tt.want)
				_ = o.leave()
			})
		})
	}
}

// An agent that has sent the facts of a locked host begins to look at the steps in its
// journal, so that a run that wants the same finds most answers.
func TestLooksBeforeThePlan(t *testing.T) {
	for name, tt := range map[string]struct {
		locked bool
		drift  bool // in the journal's steps, before the facts
		other  bool // the plan has another step
		calls  int
		want   string
	}{
		"nothing changes": {locked: true, calls: 1, want: "b ok"},
		"not locked":      {calls: 0, want: "b ok"},
		"drift":           {locked: true, drift: true, calls: 1, want: "b changed"},
		"another plan":    {locked: true, other: true, calls: 1, want: "b changed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.bundle = agent.Bundle{} // the mirror is outside of the bubble
			w.ready()
			synctest.Test(t, func(t *testing.T) {
				w.t = t
				broken := false
				w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
					if c.Argv[0] == "look" && broken {
						return steptest.Exit(c.Argv, 1, "differs")
					}
					broken = broken && c.Argv[0] != "change"
					return steptest.Say("")
				}
				look := &step.Command{Argv: []string{"change"}, CheckArgv: []string{"look"}}
				items := []step.Item{item("a", &step.File{Path: "/etc/a", Content: "a"}), item("b", look)}
				broken = true
				if _, err := w.do(w.request(agent.ModeApply, items...)); err != nil {
					t.Fatal(err)
				}
				o := w.operator()
				if tt.locked {
					if _, err := o.ask(w.request(agent.ModeLock)); err != nil {
						t.Fatal(err)
					}
				}
				broken, w.Calls = tt.drift, nil
				if _, err := o.ask(agent.Request{Protocol: agent.Protocol, Mode: agent.ModeFacts}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				looks := func() (n int) {
					for _, c := range w.Calls {
						if c[0] == "look" {
							n++
						}
					}
					return n
				}
				if got := looks(); got != tt.calls {
					t.Errorf("%d looks after the facts, want %d", got, tt.calls)
				}
				if tt.other {
					broken = true
					items[1] = item("b", &step.Command{Argv: []string{"change"}, CheckArgv: []string{"look", "well"}})
				}
				w.Calls = nil
				var got []string
				for _, req := range []agent.Request{
					w.request(agent.ModeAhead, items...), w.request(agent.ModeApply, items[0]), w.request(agent.ModeApply, items[1]),
				} {
					events, err := o.ask(req)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, states(events)...)
				}
				if diff := cmp.Diff([]string{"a ok", tt.want}, got); diff != "" {
					t.Error(diff)
				}
				if again := looks(); name == "nothing changes" && again > 0 {
					t.Errorf("%d more looks for the plan", again)
				}
				_ = o.leave()
			})
		})
	}
}

// A look ahead that finds a difference, or an error, decides nothing.
func TestDifferencesAreSeenAgain(t *testing.T) {
	w := newWorld(t, 1)
	w.bundle = agent.Bundle{}
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		broken := false
		w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
			if broken {
				return step.Output{}, fmt.Errorf("not now")
			}
			return steptest.Say("")
		}
		items := []step.Item{item("a", &step.File{Path: "/etc/a", Content: "a"}), item("b", &step.Command{Argv: []string{"look"}, Verify: true})}
		o := w.operator()
		if _, err := o.ask(w.request(agent.ModeApply, items...)); err != nil {
			t.Fatal(err)
		}
		broken = true
		if _, err := o.ask(w.request(agent.ModeAhead, items...)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		broken = false
		events, err := o.ask(w.request(agent.ModeCheck, items...))
		if diff := cmp.Diff([]string{"a ok", "b verified"}, states(events)); diff != "" || err != nil {
			t.Errorf("error %v, states (-want +got):\n%s", err, diff)
		}
		_ = o.leave()
	})
}

func TestUndoRemovesDigests(t *testing.T) {
	w := newWorld(t, 1)
	w.Write(t, "var/lib/offk8s/digests.json", "{damaged", 0o600)
	for _, mode := range []agent.Mode{agent.ModeApply, agent.ModeUndo} {
		if _, err := w.do(w.request(mode, step.Item{ID: "a", Step: &step.File{Path: "/etc/a", Content: "a"}})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(w.Root, agent.StateDir)); err == nil {
		t.Errorf("%s stays", agent.StateDir)
	}
}
