package agent_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/installer/agent"
)

// TestMirrorThatStalls: a mirror that sends headers and then nothing, or one byte now
// and then, must not hold the agent, and with it the lock of the host.
func TestMirrorThatStalls(t *testing.T) {
	stall := func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	drip := func(rw http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(rw, "x")
			_ = http.NewResponseController(rw).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}
	flood := func(rw http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(rw, strings.Repeat("x", 1000))
			_ = http.NewResponseController(rw).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}
	least := reader.Pace{Bytes: 1000, Within: 200 * time.Millisecond}
	for _, path := range []string{"/bundle/index.json", "/bundle/index.json.sig", "/bundle/blobs/", "/files/"} {
		for _, tt := range []struct {
			name string
			send func(http.ResponseWriter, *http.Request)
			pace reader.Pace
		}{
			{"stalls", stall, least},
			{"drips", drip, least},
			{"never ends", flood, reader.Pace{Bytes: 100, Within: 2 * time.Second, Total: 200 * time.Millisecond}},
		} {
			if tt.name == "never ends" && !strings.HasSuffix(path, "index.json") {
				continue // their sizes end them
			}
			t.Run(path+" "+tt.name, func(t *testing.T) {
				agent.SetPace(t, tt.pace)
				w := newWorld(t, 1)
				w.slow = func(rw http.ResponseWriter, r *http.Request) bool {
					if !strings.HasPrefix(r.URL.Path, path) || path == "/bundle/index.json" && r.URL.Path != path {
						return false
					}
					rw.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(rw).Flush()
					tt.send(rw, r)
					return true
				}
				start := time.Now()
				_, err := w.do(w.request(agent.ModeApply, item("bin", kubelet(w))))
				if !errors.Is(err, reader.ErrTooSlow) || strings.Count(err.Error(), "mirror:") != 1 || !strings.Contains(err.Error(), `"`+path) {
					t.Errorf("error %v, want one that names %q once", err, path)
				}
				if path != "/files/" {
					if _, err := agent.OpenRemote(t.Context(), w.bundle, w.mirror); !errors.Is(err, reader.ErrTooSlow) {
						t.Errorf("on the operator's side: %v", err)
					}
				}
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("took %s", took)
				}
				w.slow = nil
				if _, err := w.do(w.request(agent.ModeCheck, item("bin", kubelet(w)))); err != nil {
					t.Errorf("the next run: %v", err)
				}
			})
		}
	}
}
