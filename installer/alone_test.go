package installer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// trio is a cluster of two control planes and a worker. Its API answers once the first
// control plane has made the token, and knows each node once its kubelet runs.
type trio struct {
	*lab
	stages []stage.Stage
}

func newTrio(t *testing.T) *trio {
	l := newLab(t, "cp-1", "cp-2", "w-1")
	l.cluster.Hosts[0].Roles = []manifests.Role{manifests.RoleControlPlane}
	l.cluster.Hosts[1].Roles = []manifests.Role{manifests.RoleControlPlane}
	var token atomic.Bool
	var nodes sync.Map
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, joined := nodes.Load(strings.TrimPrefix(r.URL.Path, "/nodes/"))
		if !token.Load() || r.URL.Path != "/healthz" && !joined {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(api.Close)
	for name, h := range l.hosts {
		h.world.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
			switch c.Argv[0] {
			case "token":
				token.Store(true)
			case "kubelet":
				nodes.Store(name, true)
			}
			return steptest.Say("")
		}
	}
	// Each wait would end at the second attempt if nobody were awaited.
	wait := func(path string) *step.Wait {
		return &step.Wait{URL: api.URL + path, Timeout: 1, Interval: step.Duration(10 * time.Millisecond)}
	}
	planes := func(stage.Input) []manifests.Host { return l.cluster.Hosts[:2] }
	return &trio{l, []stage.Stage{
		files("one"),
		{Name: "access", AnyOf: true, Hosts: planes, Steps: func(stage.Input, manifests.Host) ([]step.Item, error) {
			return []step.Item{{ID: "access/token", Step: &step.Command{Argv: []string{"token"}, Once: true}}}, nil
		}},
		each("node", func(h manifests.Host) []step.Item {
			return []step.Item{
				{ID: "node/api", Awaits: []string{"cp-1"}, Step: wait("/healthz")},
				{ID: "node/conf", Step: &step.File{Path: "/etc/kubelet", Secret: step.SecretRef("conf-" + h.Name)}},
				{ID: "node/kubelet", Step: &step.Command{Argv: []string{"kubelet"}, Once: true}},
			}
		}),
		{Name: "join", AnyOf: true, Hosts: planes, Steps: func(_ stage.Input, h manifests.Host) ([]step.Item, error) {
			var items []step.Item
			for _, n := range l.cluster.Hosts {
				items = append(items, step.Item{ID: "join/" + n.Name, Awaits: []string{n.Name}, Step: wait("/nodes/" + n.Name)})
			}
			return items, nil
		}},
		{Name: "prune", Work: stage.Prune},
	}}
}

func (l *trio) input() stage.Input {
	return stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{Name: "b", Kubernetes: "1.36.3"}}
}

func (l *trio) planFor(in stage.Input) *installer.Plan {
	l.t.Helper()
	p, err := installer.NewPlan(in, stage.Operation{Name: "test", Stages: l.stages})
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

func secretOf(ref string) ([]byte, error) { return []byte("of " + ref), nil }

// overSSH runs the plan from one machine.
func (l *trio) overSSH() *installer.Report {
	l.t.Helper()
	r, err := installer.Run(l.t.Context(), l.planFor(l.input()), l.connect(), installer.RunOptions{Secrets: secretOf})
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// alone runs the part of one host, with the secrets of its ticket.
func (l *trio) alone(name string, log installer.Progress) (*installer.Report, error) {
	secrets, err := l.planFor(l.input()).Secrets(name, secretOf)
	if err != nil {
		return nil, err
	}
	here := *l.cluster
	here.Hosts = slices.DeleteFunc(slices.Clone(here.Hosts), func(h manifests.Host) bool { return h.Name != name })
	f, err := installer.Connect(l.t.Context(), &here, installer.ConnectOptions{
		Dial:   func(_ context.Context, h manifests.Host) (host.Host, error) { return l.hosts[h.Name], nil },
		Binary: l.binary(),
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := l.input()
	in.Alone = stage.Alone{Host: name, Wait: time.Hour}
	return installer.Run(l.t.Context(), l.planFor(in), f, installer.RunOptions{Progress: log, Secrets: func(ref string) ([]byte, error) {
		if b, ok := secrets[ref]; ok {
			return b, nil
		}
		return nil, fmt.Errorf("not in the ticket of %s: %s", name, ref)
	}})
}

// allAlone runs all parts at the same time and returns the number of changes.
func (l *trio) allAlone(log installer.Progress) int {
	l.t.Helper()
	var changed atomic.Int64
	var wait sync.WaitGroup
	for name := range l.hosts {
		wait.Go(func() {
			r, err := l.alone(name, log)
			if err != nil {
				l.t.Errorf("%s: %v", name, err)
				return
			}
			changed.Add(int64(r.Changed()))
		})
	}
	wait.Wait()
	return int(changed.Load())
}

// TestHostsInstallThemselves: three hosts with tickets, at the same time, end as those
// that one machine installs, which goes on with them.
func TestHostsInstallThemselves(t *testing.T) {
	tickets, ssh := newTrio(t), newTrio(t)
	want := ssh.overSSH().Changed()
	if got := tickets.allAlone(nil); got != want {
		t.Errorf("%d changes, want %d", got, want)
	}
	for name, h := range tickets.hosts {
		if diff := cmp.Diff(resultOf(t, ssh.hosts[name]), resultOf(t, h)); diff != "" {
			t.Errorf("%s (-over SSH +alone):\n%s", name, diff)
		}
		if diff := cmp.Diff(recorded(ssh.hosts[name]), recorded(h)); diff != "" {
			t.Errorf("%s records (-over SSH +alone):\n%s", name, diff)
		}
	}
	if n := tickets.allAlone(nil); n != 0 {
		t.Errorf("second run: %d changes, want 0", n)
	}
	if n := tickets.overSSH().Changed(); n != 0 {
		t.Errorf("over SSH afterwards: %d changes, want 0", n)
	}
}

// TestHostsThatInstallThemselvesSayForWhom: a host that waits names the other.
func TestHostsThatInstallThemselvesSayForWhom(t *testing.T) {
	l := newTrio(t)
	waits := &warnings{seen: make(chan string, 1)}
	done := make(chan error, 1)
	go func() {
		_, err := l.alone("w-1", waits)
		done <- err
	}()
	if got := <-waits.seen; !strings.Contains(got, "waiting for cp-1, up to 1h0m0s: ") {
		t.Errorf("it says %q, want for whom and how long", got)
	}
	var others sync.WaitGroup
	for _, name := range []string{"cp-2", "cp-1"} { // cp-2 alone makes no token
		select {
		case err := <-done:
			t.Fatalf("it ended before cp-1 came: %v", err)
		default:
		}
		others.Go(func() { _, _ = l.alone(name, nil) })
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	others.Wait() // they write to directories of the test
}

// warnings passes on the first warning of an agent.
type warnings struct {
	progress
	seen chan string
}

func (w *warnings) Event(_, _ string, e agent.Event) {
	if e.Type == agent.EventLog && e.Level == "WARN" {
		select {
		case w.seen <- e.Text:
		default:
		}
	}
}

// recorded is what the journal of the host records of the cluster.
func recorded(h *labHost) agent.Request {
	last := h.requests[len(h.requests)-1]
	return agent.Request{Cluster: last.Cluster, Host: last.Host, Roles: last.Roles, Hosts: last.Hosts, Keep: last.Keep}
}

// resultOf is the host with its journal, without times.
func resultOf(t *testing.T, h *labHost) map[string]string {
	t.Helper()
	out := h.world.Tree(t)
	for name, text := range out {
		if !strings.HasPrefix(name, "var/lib/offk8s/") {
			continue
		}
		delete(out, name)
		if !strings.HasSuffix(name, "journal.jsonl") {
			continue
		}
		var entries []string
		_, lines, _ := strings.Cut(text, " ")
		for line := range strings.Lines(lines) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			delete(m, "time")
			if owner, ok := m["owner"].(map[string]any); ok {
				delete(owner, "time")
			}
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, string(b))
		}
		out[name] = strings.Join(entries, "\n")
	}
	return out
}
