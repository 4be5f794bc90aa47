package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// clock is a time that only the test moves.
type clock struct{ t time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.t }

func (c *clock) pass(seconds int) { c.t = c.t.Add(time.Duration(seconds) * time.Second) }

func begins(id string) agent.Event { return agent.Event{Type: agent.EventStart, ID: id} }

func ends(id string, s step.State) agent.Event {
	return agent.Event{Type: agent.EventStep, ID: id, State: s}
}

func waits(why string) agent.Event {
	return agent.Event{Type: agent.EventLog, Level: "DEBUG", Text: "not yet: " + why}
}

// A pipe gets a line when a step has run for 15 seconds, and then every 15 seconds,
// with what it waits for.
func TestSlowSteps(t *testing.T) {
	clk := newClock()
	var got []string
	p := &runLines{write: func(line string) { got = append(got, strings.TrimSpace(line)) }, act: activity{now: clk.now}}
	second := func(n int) {
		for range n {
			clk.pass(1)
			p.tick()
		}
	}
	p.StageStart("packages", "operating system packages", 2)
	p.Event("packages", "node-3", begins("packages/install"))
	second(14)
	p.Event("packages", "node-4", begins("packages/install"))
	second(16)
	p.Event("packages", "node-3", waits("connection refused"))
	p.Event("packages", "node-4", ends("packages/install", step.OK))
	second(15)
	p.Event("packages", "node-3", ends("packages/install", step.Changed))
	p.StageEnd(installer.StageReport{Name: "packages"})
	second(100)
	want := []string{
		"12:00:00  packages     operating system packages (2 hosts)",
		"node-3: packages/install: 15 s",
		"node-4: packages/install: 15 s",
		"node-3: packages/install: 30 s",
		"node-3: packages/install: 45 s: not yet: connection refused",
		"node-3       changed  packages/install",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// fakeScreen is a terminal of a size, with what was written above its last frame.
type fakeScreen struct {
	t             *testing.T
	width, height int
	lines         []string
	frame         func(width, height int) []string
	open          bool
}

func (s *fakeScreen) above(line string) {
	if !s.open {
		s.t.Errorf("written to a closed screen: %q", line)
	}
	s.lines = append(s.lines, line)
}

func (s *fakeScreen) close() { s.open = false }

func newFakeView(t *testing.T, clk *clock, width, height int) (*runView, *fakeScreen) {
	s := &fakeScreen{t: t, width: width, height: height}
	v := &runView{act: activity{now: clk.now}}
	v.open = func(frame func(width, height int) []string) screen {
		s.frame, s.open = frame, true
		return s
	}
	v.write = func(line string) {
		if s.open {
			t.Errorf("written through the frame: %q", line)
		}
		s.lines = append(s.lines, line)
	}
	return v, s
}

func TestRunView(t *testing.T) {
	clk := newClock()
	v, s := newFakeView(t, clk, 60, 5)
	v.StageStart("etcd", "etcd members", 6)
	for i := range 6 {
		v.Event("etcd", fmt.Sprintf("cp-%d", i), begins("etcd/unit"))
		clk.pass(1)
	}
	v.Event("etcd", "cp-0", ends("etcd/unit", step.Changed))
	v.Event("etcd", "cp-0", begins("etcd/healthy"))
	v.Event("etcd", "cp-1", waits("\x1b[2Jdial tcp 10.0.0.11:2379: connect: connection refused"))
	want := []string{
		"etcd: etcd members: 6 hosts, 1 step done, 6 s",
		"  cp-1        5 s  etcd/unit: not yet:  [2Jdial tcp 10.0.0.…",
		"  cp-2        4 s  etcd/unit",
		"  cp-3        3 s  etcd/unit",
		"  and 3 other hosts",
	}
	if diff := cmp.Diff(want, s.frame(s.width, s.height)); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
	if got := s.frame(60, 1); len(got) != 1 {
		t.Errorf("a terminal of one line: %q", got)
	}
	if got := s.frame(60, 20); len(got) != 7 {
		t.Errorf("a high terminal: %q", got)
	}
	v.Event("etcd", "cp-2", agent.Event{Type: agent.EventLog, Level: "WARN", Text: "slow disk"})
	v.Event("etcd", "cp-2", agent.Event{Type: agent.EventStep, ID: "etcd/unit", State: step.Failed, Reason: "no answer"})
	v.StageEnd(installer.StageReport{Name: "etcd", Title: "etcd members", Took: 6 * time.Second, Failed: []string{"cp-2"}})
	v.StageStart("quorum", "etcd has a quorum", 6)
	clk.pass(125)
	if diff := cmp.Diff([]string{"quorum: etcd has a quorum: 6 hosts, 0 steps done, 2 min 5 s"}, s.frame(60, 5)); diff != "" {
		t.Errorf("next stage (-want +got):\n%s", diff)
	}
	v.StageEnd(installer.StageReport{Name: "quorum", Title: "etcd has a quorum", Took: 125 * time.Second})
	v.pause()
	want = []string{
		"          cp-2         WARN: slow disk",
		"          cp-2         failed   etcd/unit",
		"12:00:06  etcd         failed on [cp-2] after 6 s",
		"12:02:11  quorum       etcd has a quorum: 2 min 5 s",
	}
	if diff := cmp.Diff(want, s.lines); diff != "" {
		t.Errorf("what stays (-want +got):\n%s", diff)
	}
	if s.open {
		t.Error("the frame is still drawn")
	}
}

// Many hosts at a time, and a frame while events come.
func TestRunViewIsSafe(t *testing.T) {
	v := newRunView(&strings.Builder{}, 0)
	v.StageStart("one", "the one", 50)
	done := make(chan bool)
	for i := range 50 {
		go func() {
			host := fmt.Sprintf("n-%d", i)
			for range 20 {
				v.Event("one", host, begins("a"))
				v.Event("one", host, agent.Event{Type: agent.EventLog, Level: "WARN", Text: "w"})
				_ = v.frame(80, 10)
				v.Event("one", host, ends("a", step.OK))
			}
			done <- true
		}()
	}
	for range 50 {
		<-done
	}
	v.StageEnd(installer.StageReport{Name: "one"})
	v.pause()
	v.pause()
}
