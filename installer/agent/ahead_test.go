package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
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
