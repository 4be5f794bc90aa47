package installer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/drill"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// drillLab is three members of etcd under simulated agents, and an API on top of them.
type drillLab struct {
	*lab
	systemd map[string]*steptest.Systemd

	mu      sync.Mutex
	stops   int
	version int
	number  string // in the ConfigMap, "" without one
}

func newDrillLab(t *testing.T) *drillLab {
	t.Helper()
	l := &drillLab{lab: newLab(t, "e-1", "e-2", "e-3"), systemd: map[string]*steptest.Systemd{}}
	for i, h := range l.cluster.Hosts {
		l.cluster.Hosts[i].Roles = []manifests.Role{manifests.RoleEtcd}
		sd := steptest.NewSystemd("etcd.service")
		l.systemd[h.Name] = sd
		sd.Fail = func(argv []string) error {
			if argv[1] == "stop" && slices.Contains(argv, "etcd.service") {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.stops++
			}
			return nil
		}
		w := l.hosts[h.Name].world
		w.Write(t, "var/lib/offk8s/journal.jsonl", fmt.Sprintf(`{"op":"owner","owner":{"cluster":"lab","host":%q,"identity":"id"}}`+"\n", h.Name), 0o600)
		w.Programs = sd.Run
		l.hosts[h.Name].http = etcdHealth{sd}
	}
	return l
}

// etcdHealth answers for the etcd of a host.
type etcdHealth struct{ *steptest.Systemd }

func (e etcdHealth) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(e.Stopped()) > 0 || r.URL.Path != "/health" {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"health":"true"}`))}, nil
}

// stopped returns the hosts with a stopped etcd.
func (l *drillLab) stopped() (out []string) {
	for _, h := range l.cluster.Hosts {
		if len(l.systemd[h.Name].Stopped()) > 0 {
			out = append(out, h.Name)
		}
	}
	return out
}

// RoundTrip is the API, which needs a quorum.
func (l *drillLab) RoundTrip(r *http.Request) (*http.Response, error) {
	down := l.stopped()
	l.mu.Lock()
	defer l.mu.Unlock()
	var o struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Data map[string]string `json:"data"`
	}
	code := http.StatusOK
	switch {
	case len(down) > 1:
		l.t.Errorf("%v are down at the same time", down)
		code = http.StatusServiceUnavailable
	case r.Method != http.MethodPost && l.number == "":
		code = http.StatusNotFound
	case r.Method == http.MethodDelete:
		l.number = ""
	case r.Method != http.MethodGet:
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			return nil, err
		}
		l.version, l.number = l.version+1, o.Data["n"]
	}
	body := fmt.Sprintf(`{"metadata":{"resourceVersion":"%d"},"data":{"n":%q}}`, l.version, l.number)
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
}

// drill does the drill of etcd, and checks that nothing stays stopped.
func (l *drillLab) drill(ctx context.Context, p installer.Progress) ([]drill.Result, error) {
	l.t.Helper()
	f := l.connect()
	w, err := drill.Start(l.t.Context(), "https://api", l)
	if err != nil {
		l.t.Fatal(err)
	}
	before := l.stopped()
	results, err := f.Drill(ctx, stage.Input{Cluster: l.cluster}, w, installer.DrillOptions{
		Only: []string{stage.DrillEtcd}, Limit: 7 * time.Second, Identity: "id", Operator: "alice@laptop", Progress: p,
	})
	if cerr := errors.Join(w.Close(), f.Close()); cerr != nil {
		l.t.Error(cerr)
	}
	if after := l.stopped(); !slices.Equal(before, after) {
		l.t.Errorf("stopped before: %v, after: %v", before, after)
	}
	for name, sd := range l.systemd {
		if timer := sd.Timer("offk8s-drill"); timer != nil {
			l.t.Errorf("%s has the timer %v", name, timer)
		}
	}
	return results, err
}

func TestDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDrillLab(t)
		results, err := l.drill(t.Context(), nil)
		if err != nil || len(results) != 1 || results[0].Verdict != drill.OK || results[0].Host != "e-3" || results[0].Limit != 7000 || l.stops != 1 {
			t.Errorf("results %+v, error %v, %d stops", results, err, l.stops)
		}
	})
}

func TestDrillRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDrillLab(t)
		stop := step.Cmd{Argv: []string{"systemctl", "stop", "--", "etcd.service"}}
		if _, err := l.systemd["e-1"].Run(t.Context(), stop); err != nil {
			t.Fatal(err)
		}
		_, err := l.drill(t.Context(), nil)
		if _, refused := errors.AsType[*drill.RefusedError](err); !refused || !strings.Contains(err.Error(), "e-1: ") || l.stops != 1 {
			t.Errorf("error %v after %d stops, want a refusal that names e-1", err, l.stops)
		}
	})
}

// interrupter cancels a run at an event.
type interrupter struct {
	installer.Progress
	left   int
	cancel context.CancelFunc
	mu     sync.Mutex
}

func (*interrupter) StageStart(string, string, int) {}
func (*interrupter) StageEnd(installer.StageReport) {}

func (i *interrupter) Event(string, string, agent.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left--; i.left == 0 {
		i.cancel()
	}
}

// Ctrl-C at any event, or a lost connection to the host that is drilled, leaves nothing
// stopped.
func TestDrillInterrupted(t *testing.T) {
	stops := 0
	for n := 1; n < 40; n++ {
		synctest.Test(t, func(t *testing.T) {
			l := newDrillLab(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			i := &interrupter{left: n, cancel: cancel}
			results, err := l.drill(ctx, i)
			if i.left <= 0 && err == nil && results[0].Verdict != drill.OK {
				t.Errorf("event %d: results %+v without an error", n, results)
			}
			stops += l.stops
		})
	}
	for n := 1; n < 12; n++ {
		synctest.Test(t, func(t *testing.T) {
			l := newDrillLab(t)
			l.hosts["e-3"].cutAfter = n
			_, _ = l.drill(t.Context(), nil)
			stops += l.stops
		})
	}
	if stops < 10 {
		t.Errorf("only %d stops in all", stops)
	}
}
