package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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
}

func newWorld(t *testing.T, sequence int64) *world {
	t.Helper()
	w := &world{World: steptest.New(t), t: t, b: bundletest.New(t)}
	w.b.AddSmall(t)
	w.serve(sequence)
	return w
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
	w.mirror = agent.Endpoint{URL: srv.URL, CAPEM: string(ca)}
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

// send runs the agent and returns its events; the last must be the end and
// carry the error that Serve returned.
func (w *world) send(ctx context.Context, in io.Reader) ([]agent.Event, error) {
	w.t.Helper()
	var out bytes.Buffer
	err := agent.Serve(ctx, in, &out, agent.Options{Root: w.Root, Run: w.Env().Run})
	w.output.Write(out.Bytes())
	var events []agent.Event
	for line := range strings.Lines(out.String()) {
		var e agent.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatalf("output %q: %v", line, err)
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		w.t.Fatalf("no events, error %v", err)
	}
	end := events[len(events)-1]
	if end.Type != agent.EventEnd || (end.Error == "") != (err == nil) {
		w.t.Errorf("last event %+v, error %v", end, err)
	}
	return events, err
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
