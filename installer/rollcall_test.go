package installer_test

import (
	"context"
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
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// fading is a host that is lost at the end of the first stage, or when the stage named
// inside begins: its connection ends, or nothing more comes from it.
type fading struct {
	silent
	*labHost
	how    string
	inside string
	lost   atomic.Bool
	stop   context.CancelFunc // of the agent that runs
}

func (h *fading) StageStart(name, _ string, _ int) {
	if name == h.inside {
		h.lose()
	}
}

func (h *fading) StageEnd(installer.StageReport) {
	if h.inside == "" && h.lose() {
		time.Sleep(4 * agent.Beat) // the other hosts have work
	}
}

func (h *fading) lose() bool {
	if h.lost.Swap(true) {
		return false
	}
	if h.how == "cut" {
		h.stop()
	}
	return true
}

func (h *fading) serve(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, h.stop = context.WithCancel(ctx)
	defer h.stop()
	ended := make(chan error, 1)
	go func() { ended <- h.agent(ctx, argv, stdin, muted{stdout, h, !h.lost.Load()}, stderr) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return errCut
	}
}

// connect connects to the lab with this host in it. back: it can be connected again.
func (h *fading) connect(l *lab, back bool) *installer.Fleet {
	h.On(installer.AgentPath+" agent", h.serve)
	dials := 0
	return l.to(func(_ context.Context, m manifests.Host) (host.Host, error) {
		if m.Name != h.Name() {
			return l.hosts[m.Name], nil
		}
		if dials++; dials > 1 && !back {
			return nil, errors.New("no route to host")
		}
		synctest.Wait() // the agent of before has marked its lock: it stops
		return h, nil
	})
}

// silent is a Progress for others to extend.
type silent struct{}

func (silent) StageStart(string, string, int)   {}
func (silent) Event(_, _ string, _ agent.Event) {}

// muted loses what the first agent of a silent host writes.
type muted struct {
	w     io.Writer
	h     *fading
	first bool
}

func (m muted) Write(b []byte) (int, error) {
	if m.first && m.h.how == "silent" && m.h.lost.Load() {
		return len(b), nil
	}
	return m.w.Write(b)
}

// TestRollCall: a host that was lost between two stages has no part in the later ones,
// also if it is a control plane. One that can be connected again has.
func TestRollCall(t *testing.T) {
	for _, tt := range []struct {
		name, how string
		back      bool  // it can be connected again
		enough    error // of the plan without it
		took      time.Duration
		done      bool
	}{
		{name: "power cut", how: "silent", took: agent.Silence, done: true},
		{name: "connection lost", how: "cut", took: 4 * agent.Beat, done: true},
		{name: "connection lost, host is there", how: "cut", back: true, took: 4 * agent.Beat, done: true},
		{name: "silent agent, host is there", how: "silent", back: true, took: agent.Silence, done: true},
		{name: "no quorum without it", how: "cut", took: 4 * agent.Beat, enough: errors.New("1 of 3 members")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "a", "b", "c")
				l.cluster.Hosts[2].Roles = []manifests.Role{manifests.RoleControlPlane}
				c := &fading{labHost: l.hosts["c"], how: tt.how}
				f := c.connect(l, tt.back)
				defer f.Close() //nolint:errcheck // the host is lost
				op := stage.Operation{Name: "test", Stages: []stage.Stage{files("one"), files("two"), files("three")}}
				in := stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}}
				plan, err := installer.NewPlan(in, op)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{
					Progress: c,
					Replan: func(away map[string]bool) (*installer.Plan, error) {
						in.Away = away
						plan, err := installer.NewPlan(in, op)
						return plan, errors.Join(err, tt.enough)
					},
				})
				if took := time.Since(start); took != tt.took {
					t.Errorf("noticed after %s, want %s", took, tt.took)
				}
				if rep.Done != tt.done || (err == nil) != tt.back || tt.enough != nil && !errors.Is(err, tt.enough) {
					t.Errorf("done %t, error %v", rep.Done, err)
				}
				if h := rep.Hosts[2]; !tt.back && (h.Stage != "two" || !strings.Contains(h.Error, "no route to host")) {
					t.Errorf("c failed in stage %q: %s", h.Stage, h.Error)
				}
				for name, h := range l.hosts {
					_, ok := h.world.Tree(t)["etc/three"]
					if want := tt.done && (name != "c" || tt.back); ok != want {
						t.Errorf("%s: the last stage ran: %t, want %t", name, ok, want)
					}
				}
			})
		})
	}
}

// TestLostInsideStage: a stage that waits for a host does not go on waiting when the host is
// lost. It begins again without it.
func TestLostInsideStage(t *testing.T) {
	const byItself = 2 * time.Minute // after which the wait for the host ends in any case
	for _, tt := range []struct {
		name, how string
		back      bool // it can be connected again
		alone     bool // the step does not say that it waits for others
		took      time.Duration
	}{
		{name: "power cut", how: "silent", took: agent.Silence},
		{name: "connection lost", how: "cut", took: agent.Beat},
		{name: "connection lost, host is there", how: "cut", back: true, took: byItself},
		{name: "nobody waits for it", how: "cut", alone: true, took: byItself},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "a", "b", "c")
				c := &fading{labHost: l.hosts["c"], how: tt.how, inside: "two"}
				f := c.connect(l, tt.back)
				defer f.Close() //nolint:errcheck // the host is lost
				start := time.Now()
				l.hosts["a"].world.Programs = func(_ context.Context, cmd step.Cmd) (step.Output, error) {
					if cmd.Argv[1] == "c" && c.lost.Load() && time.Since(start) < byItself {
						return steptest.Exit(cmd.Argv, 1, "c has not joined")
					}
					return steptest.Say("")
				}
				nodes := stage.Stage{Name: "two", AnyOf: true, Steps: func(in stage.Input, h manifests.Host) ([]step.Item, error) {
					last := "c"
					if in.Away["c"] {
						last = "b"
					}
					it := step.Item{ID: "two/nodes", Step: &step.Wait{Argv: []string{"joined", last}, Timeout: step.Duration(5 * time.Minute)}}
					if !tt.alone {
						it.Awaits = []string{"b", last}
					}
					return []step.Item{{ID: "two/file", Step: &step.File{Path: "/etc/two", Content: last}}, it}, nil
				}}
				op := stage.Operation{Name: "test", Stages: []stage.Stage{files("one"), nodes, files("three")}}
				in := stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}}
				plan, err := installer.NewPlan(in, op)
				if err != nil {
					t.Fatal(err)
				}
				rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{
					Progress: c,
					Replan: func(away map[string]bool) (*installer.Plan, error) {
						in.Away = away
						return installer.NewPlan(in, op)
					},
				})
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if !rep.Done || (err == nil) != tt.back {
					t.Errorf("done %t, error %v", rep.Done, err)
				}
				if a := rep.Hosts[0]; a.Failed+a.NotRun > 0 || a.Error != "" {
					t.Errorf("a: %+v", a)
				}
				want := map[bool]string{false: "two", true: "three"}[tt.alone] // the roll call before it
				if h := rep.Hosts[2]; !tt.back && (h.Stage != want || !strings.Contains(h.Error, "no route to host")) {
					t.Errorf("c failed in stage %q: %s, want %q", h.Stage, h.Error, want)
				}
				for name, h := range l.hosts {
					if _, ok := h.world.Tree(t)["etc/three"]; ok != (name != "c" || tt.back) {
						t.Errorf("%s: the last stage ran: %t", name, ok)
					}
				}
			})
		})
	}
}
