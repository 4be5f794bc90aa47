package installer_test

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

func TestOneAgentForAllStages(t *testing.T) {
	l := newLab(t, "cp-1", "w-1")
	l.cluster.Hosts[0].Roles = []manifests.Role{manifests.RoleControlPlane}
	f := l.connect()
	plan := l.plan(files("one"), files("two"), files("three"))
	for _, dry := range []bool{true, false} {
		if _, err := installer.Run(t.Context(), plan, f, installer.RunOptions{DryRun: dry}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := installer.Reset(t.Context(), f, installer.ResetOptions{}); err != nil {
		t.Fatal(err)
	}
	for n, h := range l.hosts {
		if h.agents != 1 || len(h.requests) != 9 {
			t.Errorf("%s: %d agents for %d requests, want 1 for 9", n, h.agents, len(h.requests))
		}
		if want := map[string]int{"cp-1": 1}[n]; h.lists != want {
			t.Errorf("%s: the hosts of the cluster were sent %d times", n, h.lists)
		}
		if h.Closed() {
			t.Errorf("%s: closed", n)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for n, h := range l.hosts {
		if !h.Closed() {
			t.Errorf("%s: not closed", n)
		}
	}
}

// The first requests need not wait for the start of the agents.
func TestConnectStartsTheAgents(t *testing.T) {
	l := newLab(t, "a", "b")
	if err := l.connect().Close(); err != nil { // waits for the agents
		t.Fatal(err)
	}
	for n, h := range l.hosts {
		if h.agents != 1 {
			t.Errorf("%s: %d agents, want 1", n, h.agents)
		}
	}
}

// scripted is a host whose agents are functions: the first start runs the first one, and so on.
type scripted struct {
	*fakeHost
	dials  atomic.Int32
	starts atomic.Int32
	dial   func() error // may be nil
}

// script returns a fleet of one host, "cp-1", whose agents are given.
func script(t *testing.T, agents ...func(a *fakeAgent) error) (*scripted, *installer.Fleet) {
	t.Helper()
	s := &scripted{fakeHost: newFakeHost(t, "cp-1")}
	s.Say("sh -c uname -m", "x86_64\nnone\n")
	s.On(installer.AgentPath+" agent", func(ctx context.Context, _ []string, stdin io.Reader, stdout, stderr io.Writer) error {
		n := int(s.starts.Add(1))
		if n > len(agents) {
			t.Errorf("%d agents, want %d", n, len(agents))
			return errors.New("too many")
		}
		return agents[n-1](&fakeAgent{ctx: ctx, in: bufio.NewReader(stdin), out: json.NewEncoder(stdout), stderr: stderr})
	})
	f, err := installer.Connect(t.Context(), &manifests.Cluster{Name: "lab", Hosts: []manifests.Host{{Name: "cp-1"}}}, installer.ConnectOptions{
		Dial: func(context.Context, manifests.Host) (host.Host, error) {
			if s.dials.Add(1) > 1 && s.dial != nil {
				return s, s.dial()
			}
			return s, nil
		},
		Binary: func(string) (string, error) { return elfFile(t, elf.EM_X86_64), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, f
}

// fakeAgent is the agent's end of a session.
type fakeAgent struct {
	ctx    context.Context
	in     *bufio.Reader
	out    *json.Encoder
	stderr io.Writer
	alive  int // signs of life of the operator
}

// next waits for a request; the error is that of the end of the input.
func (a *fakeAgent) next() error {
	for {
		line, err := a.in.ReadString('\n')
		if err != nil || line != "\n" {
			return err
		}
		a.alive++
	}
}

// serve answers requests until the input ends.
func (a *fakeAgent) serve() error {
	for a.next() == nil {
		if err := a.out.Encode(agent.Event{Type: agent.EventEnd}); err != nil {
			return err
		}
	}
	return nil
}

// runOn runs a plan of one stage with one step.
func runOn(ctx context.Context, t *testing.T, f *installer.Fleet, p installer.Progress) error {
	t.Helper()
	plan, err := installer.NewPlan(stage.Input{
		Cluster: &manifests.Cluster{Name: "lab", Hosts: []manifests.Host{{Name: "cp-1"}}}, Lock: &manifests.Lock{},
	}, stage.Operation{Stages: []stage.Stage{files("one")}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = installer.Run(ctx, plan, f, installer.RunOptions{Progress: p})
	return err
}

func TestAgentOfADeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(a *fakeAgent) error {
			if err := a.next(); err != nil {
				return err
			}
			// As long as it sends something, a step may take its time.
			for range 20 {
				time.Sleep(agent.Beat)
				if err := a.out.Encode(agent.Event{Type: agent.EventAlive}); err != nil {
					return err
				}
			}
			<-a.ctx.Done()
			return context.Cause(a.ctx)
		}
		s, f := script(t, silent, (*fakeAgent).serve)
		start := time.Now()
		var log progress
		err := runOn(t.Context(), t, f, &log)
		if err == nil || !strings.Contains(err.Error(), "no sign of life from the agent on cp-1 for 45s") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(start); took != 20*agent.Beat+agent.Silence {
			t.Errorf("noticed after %s", took)
		}
		if len(log.lines) != 2 {
			t.Errorf("the signs of life are events: %q", log.lines)
		}
		// The host has come back.
		if err := runOn(t.Context(), t, f, nil); err != nil {
			t.Errorf("the next run: %v", err)
		}
		if s.dials.Load() != 2 || s.starts.Load() != 2 {
			t.Errorf("%d connections, %d agents; want 2 and 2", s.dials.Load(), s.starts.Load())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAgentIsStartedAgain(t *testing.T) {
	once := func(end error) func(a *fakeAgent) error {
		return func(a *fakeAgent) error {
			_ = a.next()
			_, _ = io.WriteString(a.stderr, "Killed")
			return end
		}
	}
	s, f := script(t, once(&host.ExitError{Program: "offk8s", Code: 137}), once(errCut), (*fakeAgent).serve)
	for _, tt := range []struct {
		want  string // of the error
		dials int32
	}{
		{"agent: \"offk8s\": exit code 137: Killed", 1},
		{"agent: connection lost: Killed", 1},
		{"agent: connect again: no route to host", 2},
		{"agent: connect again: no route to host", 3},
		{"", 4},
		{"", 4},
	} {
		s.dial = func() error { return errors.New("no route to host") }
		if tt.want == "" {
			s.dial = nil
		}
		err := runOn(t.Context(), t, f, nil)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
		if got := s.dials.Load(); got != tt.dials {
			t.Errorf("after %q: %d connections, want %d", tt.want, got, tt.dials)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestCancelWaitsForTheAgent: the operator waits, and shows what for, while the agent has
// a transaction to finish.
func TestCancelWaitsForTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		finished := false
		busy := func(a *fakeAgent) error {
			if err := a.next(); err != nil {
				return err
			}
			cancel()
			if err := a.next(); !errors.Is(err, io.EOF) {
				t.Errorf("the agent's input after the cancel: %v, want its end", err)
			}
			for range 60 {
				time.Sleep(agent.Beat)
				if err := a.out.Encode(agent.Event{Type: agent.EventAlive}); err != nil {
					return err
				}
			}
			finished = a.ctx.Err() == nil
			err := a.out.Encode(agent.Event{Type: agent.EventLog, Level: "WARN", Text: "finished"})
			return errors.Join(err, a.out.Encode(agent.Event{Type: agent.EventEnd, Error: "the operator went away"}))
		}
		_, f := script(t, busy)
		var log logged
		if err := runOn(ctx, t, f, &log); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		if !finished {
			t.Error("the agent was killed")
		}
		if strings.Join(log, " ") != "finished" {
			t.Errorf("log %q", log)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

// logged collects the log of the agents.
type logged []string

func (l *logged) StageStart(string, string, int) {}
func (l *logged) StageEnd(installer.StageReport) {}
func (l *logged) Event(_, _ string, e agent.Event) {
	if e.Type == agent.EventLog {
		*l = append(*l, e.Text)
	}
}

// TestIdleSession: between two requests both ends send signs of life, and Close ends the
// agent through its input.
func TestIdleSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen fakeAgent
		serve := func(a *fakeAgent) error {
			err := a.serve()
			seen = *a
			return err
		}
		s, f := script(t, serve)
		for range 2 {
			if err := runOn(t.Context(), t, f, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * agent.Silence)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if want := int(20 * agent.Silence / agent.Beat); seen.alive < want-2 || seen.alive > want {
			t.Errorf("%d signs of life from the operator, want %d", seen.alive, want)
		}
		if !s.Closed() || s.starts.Load() != 1 {
			t.Errorf("%d agents, connection closed: %t", s.starts.Load(), s.Closed())
		}
	})
}

// TestSlowProgress: a terminal that is stopped for a while is no silent agent.
func TestSlowProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serve := func(a *fakeAgent) error {
			if err := a.next(); err != nil {
				return err
			}
			err := a.out.Encode(agent.Event{Type: agent.EventLog})
			return errors.Join(err, a.out.Encode(agent.Event{Type: agent.EventEnd}), a.serve())
		}
		_, f := script(t, serve)
		if err := runOn(t.Context(), t, f, stopped{}); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

// stopped is a Progress that takes its time.
type stopped struct{ *logged }

func (stopped) Event(string, string, agent.Event) { time.Sleep(10 * agent.Silence) }
