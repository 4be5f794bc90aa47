package drill_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/drill"
	"github.com/offk8s/offk8s/installer/stage"
)

// hosts is a cluster whose API does not answer for some time after a stop.
type hosts struct {
	t     *testing.T
	a     *api
	calls []string
	down  map[string]bool
	// outage is the time without writes after each stop, forever if it is negative.
	outage time.Duration
	// fail returns the error of a call, "stop etcd".
	fail func(call string) error
}

func (h *hosts) call(call string) error {
	h.calls = append(h.calls, call)
	if h.fail != nil {
		return h.fail(call)
	}
	return nil
}

func (h *hosts) Healthy(ctx context.Context, _ time.Duration) error {
	if len(h.down) > 0 {
		h.t.Errorf("%v are down when all is checked", h.down)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return h.call("healthy")
}

func (h *hosts) Stop(_ context.Context, d stage.Drill) error {
	h.down[d.Name] = true
	if len(h.down) > 1 {
		h.t.Errorf("%v are down at the same time", h.down)
	}
	stopped := time.Now()
	h.a.set(func(rw http.ResponseWriter, r *http.Request) bool {
		out := r.Method != http.MethodDelete && h.outage != 0 && (h.outage < 0 || time.Since(stopped) < h.outage)
		if out {
			rw.WriteHeader(503)
		}
		return out
	})
	return h.call("stop " + d.Name)
}

func (h *hosts) Start(ctx context.Context, d stage.Drill) error {
	if ctx.Err() != nil {
		h.t.Error("the start has a context that has ended")
	}
	h.a.set(nil)
	delete(h.down, d.Name)
	return h.call("start " + d.Name)
}

var allDrills = []stage.Drill{
	{Name: "balancer", Host: "lb-1", Units: []string{"haproxy.service"}, Limit: 5 * time.Second},
	{Name: "control-plane", Note: "the cluster has one control plane"},
	{Name: "etcd", Host: "cp-1", Units: []string{"etcd.service"}, Limit: 2 * time.Second},
}

// run does all drills on h. It checks that nothing stays stopped.
func run(t *testing.T, ctx context.Context, h *hosts) ([]drill.Result, error) {
	t.Helper()
	h.t, h.a, h.down = t, &api{}, map[string]bool{}
	w := start(t, h.a)
	defer end(t, h.a, w)
	results, err := drill.Run(ctx, allDrills, h, w, nil)
	if len(h.down) > 0 {
		t.Errorf("%v are still down", h.down)
	}
	return results, err
}

func verdicts(results []drill.Result) []string {
	var out []string
	for _, r := range results {
		out = append(out, r.Drill+": "+string(r.Verdict))
	}
	return out
}

func TestRun(t *testing.T) {
	broken := errors.New("broken")
	failing := func(call string) func(string) error {
		return func(c string) error {
			if c == call {
				return broken
			}
			return nil
		}
	}
	nth := func(n int) func(string) error {
		return func(c string) error {
			if c == "healthy" {
				if n--; n == 0 {
					return broken
				}
			}
			return nil
		}
	}
	const skipped = "control-plane: not drilled"
	for name, tt := range map[string]struct {
		hosts    hosts
		verdicts []string
		calls    string
		refused  bool
	}{
		"all survive": {
			hosts{outage: time.Second},
			[]string{"balancer: ok", skipped, "etcd: ok"},
			"healthy,stop balancer,start balancer,healthy,healthy,stop etcd,start etcd,healthy", false,
		},
		"one limit exceeded": {
			hosts{outage: 3 * time.Second},
			[]string{"balancer: ok", skipped, "etcd: too long"},
			"healthy,stop balancer,start balancer,healthy,healthy,stop etcd,start etcd,healthy", false,
		},
		"no recovery": {
			hosts{outage: -1},
			[]string{"balancer: not recovered", skipped, "etcd: not drilled"},
			"healthy,stop balancer,start balancer,healthy", false,
		},
		"the stop fails": {
			hosts{fail: failing("stop balancer")},
			[]string{"balancer: failed", skipped, "etcd: not drilled"},
			"healthy,stop balancer,start balancer,healthy", false,
		},
		"the start fails": {
			hosts{fail: failing("start balancer")},
			[]string{"balancer: not put back", skipped, "etcd: not drilled"},
			"healthy,stop balancer,start balancer", false,
		},
		"a fault before the first stop": {hosts{fail: nth(1)}, nil, "healthy", true},
		"a fault after the first stop": {
			hosts{fail: nth(2)},
			[]string{"balancer: not put back", skipped, "etcd: not drilled"},
			"healthy,stop balancer,start balancer,healthy", false,
		},
		"a fault before the second stop": {
			hosts{fail: nth(3)},
			[]string{"balancer: ok", skipped, "etcd: not drilled"},
			"healthy,stop balancer,start balancer,healthy,healthy", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &tt.hosts
				results, err := run(t, t.Context(), h)
				if _, refused := errors.AsType[*drill.RefusedError](err); refused != tt.refused || err != nil && !errors.Is(err, broken) {
					t.Errorf("error %v, want a refusal: %v", err, tt.refused)
				}
				if diff := cmp.Diff(tt.verdicts, verdicts(results)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got := strings.Join(h.calls, ","); got != tt.calls {
					t.Errorf("calls %s\nwant  %s", got, tt.calls)
				}
				for _, r := range results {
					if r.Verdict != drill.OK && r.Reason == "" && r.Verdict != drill.TooLong {
						t.Errorf("%+v has no reason", r)
					}
				}
			})
		})
	}
}

// Before anything is stopped, the client must be able to write.
func TestRefusedWithoutWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hosts{}
		h.fail = func(string) error {
			h.a.set(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodDelete {
					rw.WriteHeader(503)
				}
				return r.Method != http.MethodDelete
			})
			return nil
		}
		_, err := run(t, t.Context(), h)
		if _, refused := errors.AsType[*drill.RefusedError](err); !refused || !strings.Contains(err.Error(), "503") {
			t.Errorf("error %v, want a refusal with the failure", err)
		}
		if got := strings.Join(h.calls, ","); got != "healthy" {
			t.Errorf("calls %s", got)
		}
	})
}

// Ctrl-C at any time leaves nothing stopped.
func TestInterrupted(t *testing.T) {
	stop := errors.New("interrupted by the user")
	for after := time.Duration(0); after < 25*time.Second; after += 900 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			time.AfterFunc(after, func() { cancel(stop) })
			h := &hosts{outage: time.Second}
			results, err := run(t, ctx, h)
			if err != nil && !errors.Is(err, stop) {
				t.Errorf("after %s: error %v", after, err)
			}
			stops, starts := 0, 0
			for _, c := range h.calls {
				if strings.HasPrefix(c, "stop ") {
					stops++
				}
				if strings.HasPrefix(c, "start ") {
					starts++
				}
			}
			if stops != starts {
				t.Errorf("after %s: calls %v", after, h.calls)
			}
			if err != nil && stops == 1 && verdicts(results)[0] == "balancer: not put back" {
				t.Errorf("after %s: %v", after, verdicts(results))
			}
		})
	}
}

func TestLostWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hosts{outage: time.Second}
		h.fail = func(call string) error {
			if call == "start balancer" {
				lost := false
				h.a.mu.Lock()
				defer h.a.mu.Unlock()
				h.a.after = func(a *api, _ int) {
					if !lost {
						a.n, lost = "0", true
					}
				}
			}
			return nil
		}
		results, err := run(t, t.Context(), h)
		if err != nil || results[0].Verdict != drill.BadWrites || results[0].Lost != 1 || drill.Failures(results) != "balancer on lb-1: bad writes" {
			t.Errorf("results %+v, error %v", results, err)
		}
	})
}
