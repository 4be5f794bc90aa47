package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/mirror"
)

// world is a host with an agent, and a real mirror in front of a small bundle.
type world struct {
	*steptest.World
	t      *testing.T
	b      *bundletest.Builder
	bundle agent.Bundle
	mirror agent.Endpoint
	// tamper, when set, changes answers of the mirror.
	tamper func(path string, body []byte) []byte
	// slow, when set, answers the paths that it returns true for.
	slow   func(rw http.ResponseWriter, r *http.Request) bool
	paths  []string // asked of the mirror
	output strings.Builder
	runner step.Runner // if set, instead of Programs
	kinds  step.Kinds  // if set, instead of all
}

func newWorld(t *testing.T, sequence int64) *world {
	t.Helper()
	w := &world{World: steptest.New(t), t: t, b: bundletest.New(t)}
	w.b.AddSmall(t)
	w.serve(sequence)
	return w
}

// Tree is the tree of the host without the content of the lock, which has the time of
// its run and a line of the agent that stops.
func (w *world) Tree(t testing.TB) map[string]string {
	t.Helper()
	tree := w.World.Tree(t)
	if _, ok := tree[lockPath]; ok {
		tree[lockPath] = ""
	}
	return tree
}

// serve puts a mirror with the bundle of this sequence up.
func (w *world) serve(sequence int64) {
	w.t.Helper()
	w.b.Lock.Sequence = sequence
	b, err := bundle.Open(w.t.Context(), []string{w.b.Seal(w.t)}, bundletest.Options(w.b.Key))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = b.Close() })
	m, err := mirror.New([]*bundle.Bundle{b}, mirror.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.paths = append(w.paths, r.URL.Path)
		if w.slow != nil && w.slow(rw, r) {
			return
		}
		rec := httptest.NewRecorder()
		m.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if w.tamper != nil {
			body = w.tamper(r.URL.Path, bytes.Clone(body))
		}
		rw.WriteHeader(rec.Code)
		_, _ = rw.Write(body)
	}))
	w.t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	w.bundle = agent.Bundle{PublicKeys: string(w.b.Key.PublicPEM()), Root: b.Root()}
	w.mirror = agent.Endpoint{URLs: []string{srv.URL}, CAPEM: string(ca)}
}

// request is one about the cluster "lab", with the bundle.
func (w *world) request(mode agent.Mode, items ...step.Item) agent.Request {
	w.t.Helper()
	req := agent.Request{
		Protocol: agent.Protocol, Mode: mode, Cluster: "lab", Host: "cp-1", Bundle: w.bundle, Mirror: w.mirror,
		Secrets: map[string][]byte{},
	}
	for k, v := range w.Secrets {
		req.Secrets[k] = []byte(v)
	}
	for _, it := range items {
		b, err := json.Marshal(it)
		if err != nil {
			w.t.Fatal(err)
		}
		req.Items = append(req.Items, b)
	}
	return req
}

func (w *world) do(req agent.Request) ([]agent.Event, error) {
	w.t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(w.t.Context(), bytes.NewReader(b))
}

// send runs the agent with one request and returns its events; the last must be the end
// and carry the error that Serve returned.
func (w *world) send(ctx context.Context, in io.Reader) ([]agent.Event, error) {
	w.t.Helper()
	var out answers
	ended := out.until(agent.EventEnd)
	// The operator's side stays open until the answer ends.
	err := agent.Serve(ctx, io.MultiReader(in, strings.NewReader("\n"), hold(ended)), &out, w.options())
	w.output.WriteString(out.text())
	events := out.all(w.t)
	if len(events) == 0 {
		w.t.Fatalf("no events, error %v", err)
	}
	end := events[len(events)-1]
	if end.Type != agent.EventEnd || (end.Error == "") != (err == nil) {
		w.t.Errorf("last event %+v, error %v", end, err)
	}
	return events, err
}

func (w *world) options() agent.Options {
	o := agent.Options{Root: w.Root, Run: w.Env().Run, Kinds: w.kinds}
	if w.runner != nil {
		o.Run = w.runner
	}
	return o
}

// hold is a reader without data that ends when the channel is closed.
type hold <-chan struct{}

func (h hold) Read([]byte) (int, error) {
	<-h
	return 0, io.EOF
}

// answers collects the output of an agent.
type answers struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wants []want
	// public is the key of the agent. Its event is not part of an answer.
	public []byte
}

type want struct {
	t    agent.EventType
	seen chan struct{}
}

// until returns a channel that is closed when the next event of the type arrives.
func (a *answers) until(t agent.EventType) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := want{t, make(chan struct{})}
	a.wants = append(a.wants, w)
	return w.seen
}

func (a *answers) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var e agent.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return 0, err
	}
	if e.Type == agent.EventKey {
		a.public = e.Key
		return len(line), nil
	}
	a.wants = slices.DeleteFunc(a.wants, func(w want) bool {
		if w.t == e.Type {
			close(w.seen)
		}
		return w.t == e.Type
	})
	return a.b.Write(line)
}

func (a *answers) key() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.public
}

func (a *answers) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.b.String()
}

func (a *answers) all(t *testing.T) []agent.Event {
	t.Helper()
	var events []agent.Event
	for line := range strings.Lines(a.text()) {
		var e agent.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("output %q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

// states returns the state of each step in order, "id state".
func states(events []agent.Event) []string {
	var out []string
	for _, e := range events {
		if e.Type == agent.EventStep {
			out = append(out, e.ID+" "+string(e.State))
		}
	}
	return out
}

func item(id string, s step.Step) step.Item { return step.Item{ID: id, Step: s} }
