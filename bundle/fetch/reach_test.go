package fetch_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

func TestUnreachable(t *testing.T) {
	var asked atomic.Int64
	good := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	})
	host := strings.TrimPrefix(good, "http://")
	closed := "http://127.0.0.1:1"
	c := newClient(t, fetch.Options{Rewrites: []manifests.Rewrite{
		{From: "https://good.example", To: good}, {From: "images.example", To: good}, {From: "apt:debian", To: closed},
	}})
	addresses := []string{
		"https://good.example/a", "https://good.example/b", good + "/c", closed + "/d", closed + "/e", "apt:debian", "apt:ubuntu",
		"https://" + host + "/tls", "127.0.0.1:1/x/y",
	}
	want := []string{"127.0.0.1:1/x/y", "apt:debian", closed + "/d", closed + "/e", "https://" + host + "/tls"}
	for range 2 {
		failed := c.Unreachable(t.Context(), addresses)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(failed))); diff != "" {
			t.Errorf("unreachable (-want +got):\n%s", diff)
		}
		if err := failed[closed+"/d"]; err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("closed port: %v", err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the host that answered was asked %d times", asked.Load())
	}
	more, err := c.With([]manifests.Rewrite{{From: "https://more.example", To: good}})
	if err != nil {
		t.Fatal(err)
	}
	if failed := more.Unreachable(t.Context(), []string{"https://more.example/a", "images.example/x"}); len(failed) > 0 || asked.Load() != 2 {
		t.Errorf("with another path of the host: %v after %d requests, want none and 2", failed, asked.Load())
	}
}

// answers is a transport by host; a host that it lacks is silent.
type answers map[string]string

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, ok := a[r.URL.Host]
	if !ok {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
}

func TestUnreachableIfAllAreSilent(t *testing.T) {
	addresses := []string{"https://a.example/x", "https://b.example/y"}
	for _, tt := range []struct {
		hosts answers
		want  int
	}{{answers{}, 2}, {answers{"b.example": ""}, 0}} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, fetch.Options{Transport: tt.hosts})
			start := time.Now()
			failed := c.Unreachable(t.Context(), addresses)
			if len(failed) != tt.want || time.Since(start) != 4*time.Second {
				t.Errorf("after %s: %v, want %d", time.Since(start), failed, tt.want)
			}
			for _, err := range failed {
				if !strings.Contains(err.Error(), "no answer within 4s") {
					t.Error(err)
				}
			}
		})
	}
}

// ways is a transport whose hosts fail in the way that their name begins with. It counts
// the requests.
type ways struct{ asked *atomic.Int64 }

func (w ways) RoundTrip(r *http.Request) (*http.Response, error) {
	w.asked.Add(1)
	way, _, _ := strings.Cut(r.URL.Host, ".")
	switch way {
	case "nowhere":
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Host, IsNotFound: true}}
	case "refused":
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	<-r.Context().Done() // dropped
	return nil, r.Context().Err()
}

// TestNothingReachable counts the requests if each of ten hosts fails in another way: one
// for each, all at the same time, and no pause if waiting cannot help.
func TestNothingReachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var addresses []string
		for i := range 10 {
			addresses = append(addresses, fmt.Sprintf("https://%s.%d.example/x", []string{"nowhere", "refused", "dropped"}[i%3], i))
		}
		c := newClient(t, fetch.Options{
			Transport: ways{&asked},
			Waiting:   func(w fetch.Wait) { t.Errorf("waits %s after %v", w.For, w.Err) },
		})
		start := time.Now() // of the bubble: no timing of this machine
		failed := c.Unreachable(t.Context(), addresses)
		if took := time.Since(start); len(failed) != 10 || asked.Load() != 10 || took >= 5*time.Second {
			t.Errorf("%d hosts failed after %d requests and %s, want 10, 10 and less than 5s", len(failed), asked.Load(), took)
		}
	})
}

func TestLimitRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, fetch.Options{Transport: answers{"a.example": strings.Repeat("x", 100<<10)}, LimitRate: 10 << 10})
		start := time.Now()
		if _, err := get(c, "https://a.example/x", 1<<20); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("100 KiB at 10 KiB/s took %s, %v", time.Since(start), err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		after func() string
		waits []time.Duration
	}{
		"seconds": {func() string { return "7" }, []time.Duration{7 * time.Second}},
		"none":    {func() string { return "" }, []time.Duration{time.Second}},
		"odd":     {func() string { return "soon" }, []time.Duration{time.Second}},
		"past":    {func() string { return "Wed, 21 Oct 2015 07:28:00 GMT" }, []time.Duration{time.Second}},
		"hours":   {func() string { return "7200" }, nil},
		"far":     {func() string { return time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat) }, nil},
	} {
		for _, what := range []string{"file", "image"} {
			var requests atomic.Int64
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" && requests.Add(1) == 1 {
					w.Header().Set("Retry-After", tt.after())
					w.WriteHeader(http.StatusTooManyRequests)
				}
			})
			var waits []time.Duration
			c := newClient(t, fetch.Options{
				Keychain: anonymous{}, Rewrites: []manifests.Rewrite{{From: "images.example", To: url}},
				Waiting: func(w fetch.Wait) { waits = append(waits, w.For) },
			})
			_, err := get(c, url, 9)
			if what == "image" {
				requests.Store(0)
				waits = nil
				_, err = c.ResolveImage(t.Context(), fetch.ImageRef{Repo: "images.example/a", Tag: "1"})
			}
			if diff := cmp.Diff(tt.waits, waits); diff != "" {
				t.Errorf("%s, %s: waits (-want +got):\n%s", name, what, diff)
			}
			if tt.waits == nil && (err == nil || !strings.Contains(err.Error(), "asks for a pause of ")) || tt.waits != nil && err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}
