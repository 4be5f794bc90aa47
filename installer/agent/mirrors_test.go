package agent_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/mirror"
)

// A mirror ends in the middle of a file: the rest comes from the next, and so does
// everything after it. The digest covers both parts.
func TestMirrorEndsInTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		name string
		rest func([]byte) []byte // what the second mirror makes of the file
		want error
	}{
		{"the next goes on", func(b []byte) []byte { return b }, nil},
		{"the next has other bytes", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, agent.ErrVerify},
		{"the next has fewer bytes", func(b []byte) []byte { return b[:1] }, errors.ErrUnsupported}, // any error
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			b, err := bundle.Open(t.Context(), []string{w.b.Seal(t)}, bundletest.Options(w.b.Key))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			m, err := mirror.New([]*bundle.Bundle{b}, mirror.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var dead atomic.Bool
			var late atomic.Int64 // requests to the mirror that is dead
			first := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if dead.Load() {
					late.Add(1)
					panic(http.ErrAbortHandler)
				}
				if !strings.HasPrefix(r.URL.Path, "/files/") {
					m.ServeHTTP(rw, r)
					return
				}
				dead.Store(true)
				half := answerOf(m, r)
				_, _ = rw.Write(half[:len(half)/2])
				_ = http.NewResponseController(rw).Flush()
				panic(http.ErrAbortHandler)
			}))
			defer first.Close()
			second := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = rw.Write(tt.rest(answerOf(m, r)))
			}))
			defer second.Close()
			w.bundle.Root, w.mirror = b.Root(), agent.Endpoint{URLs: []string{first.URL, second.URL}}
			_, err = w.do(w.request(agent.ModeApply, item("bin", kubelet(w)), item("again", kubelet(w))))
			switch {
			case tt.want == nil && err != nil, tt.want != nil && err == nil, errors.Is(tt.want, agent.ErrVerify) && !errors.Is(err, agent.ErrVerify):
				t.Errorf("error %v, want %v", err, tt.want)
			case tt.want == nil && late.Load() > 0:
				t.Errorf("%d requests to the mirror that is dead", late.Load())
			}
		})
	}
}

func answerOf(m *mirror.Mirror, r *http.Request) []byte {
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, r)
	return rec.Body.Bytes()
}
