package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// gauge counts pieces of work that overlap. The first one after each reading waits for
// another for a second, so that those overlap that may.
type gauge struct {
	mu        sync.Mutex
	now, most int
	first     bool          // the next one is the first
	met       chan struct{} // closed when two overlap
	bytes     int64         // of the answers of handler
}

func newGauge() *gauge { return &gauge{first: true, met: make(chan struct{})} }

// work begins a piece of work and returns its end.
func (g *gauge) work() (end func()) {
	g.mu.Lock()
	g.now++
	if g.now > 1 && g.most < 2 {
		close(g.met)
	}
	g.most = max(g.most, g.now)
	met, first := g.met, g.first
	g.first = false
	g.mu.Unlock()
	if first {
		select {
		case <-met:
		case <-time.After(time.Second):
		}
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now--
	}
}

// read returns how many pieces overlapped at most, and the bytes of the answers, since the
// last reading.
func (g *gauge) read() (most int, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	most, bytes = g.most, g.bytes
	g.most, g.bytes, g.first, g.met = 0, 0, true, make(chan struct{})
	return most, bytes
}

// handler returns h with the requests that is selects as work. Their work ends before the
// client has the answer.
func (g *gauge) handler(h http.Handler, is func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !is(r) {
			h.ServeHTTP(w, r)
			return
		}
		end := g.work()
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		g.mu.Lock()
		g.bytes += int64(answer.Body.Len())
		g.mu.Unlock()
		end()
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // an error is one of the client
	})
}

// scriptAtATime: at-a-time N|many|any demands how many hosts, uploads to the registry or
// downloads from the upstream overlapped at most since the last call.
func scriptAtATime(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "at-a-time N|many|any")
	most, _ := of(ts).gauge.read()
	if ok := map[string]bool{strconv.Itoa(most): true, "many": most > 1, "any": true}; !ok[args[0]] {
		ts.Fatalf("%d at a time, want %s", most, args[0])
	}
}

// scriptRate: rate KB ARGS… runs offk8s and demands that the upstream sent it at most that many
// kilobytes a second. It fails on no machine for being slow.
func scriptRate(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "rate KB ARGS…")
	limit, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	of(ts).gauge.read()
	start := time.Now()
	ts.Check(ts.Exec("offk8s", args[1:]...))
	took := time.Since(start)
	_, got := of(ts).gauge.read()
	if most := int64(took.Seconds() * float64(limit) * 1000); got > most || got == 0 {
		ts.Fatalf("%d bytes in %s, want at most %d", got, took, most)
	}
}
