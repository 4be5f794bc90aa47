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
	"github.com/offk8s/offk8s/manifests"
)

// fading is a host that is lost at the end of the first stage: its connection ends, or
// nothing more comes from it.
type fading struct {
	silent
	*labHost
	how  string
	lost atomic.Bool
	stop context.CancelFunc // of the agent that runs
}

func (h *fading) StageEnd(installer.StageReport) {
	if h.lost.Swap(true) {
		return
	}
	if h.how == "cut" {
		h.stop()
	}
	time.Sleep(4 * agent.Beat) // the other hosts have work
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
				c.On(installer.AgentPath+" agent", c.serve)
				dials := 0
				f := l.to(func(_ context.Context, h manifests.Host) (host.Host, error) {
					if h.Name != "c" {
						return l.hosts[h.Name], nil
					}
					if dials++; dials > 1 && !tt.back {
						return nil, errors.New("no route to host")
					}
					return c, nil
				})
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
