package fetch_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

func noWait(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func newClient(t *testing.T, o fetch.Options) *fetch.Client {
	t.Helper()
	if o.Sleep == nil {
		o.Sleep = noWait
	}
	c, err := fetch.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func get(c *fetch.Client, url string, limit int64) (string, error) {
	rc, err := c.Get(context.Background(), url, limit)
	if err != nil {
		return "", err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	return string(b), err
}

func TestRewrites(t *testing.T) {
	c := newClient(t, fetch.Options{Rewrites: []manifests.Rewrite{
		{From: "https://example.com", To: "http://mirror/all"},
		{From: "https://example.com/deep/", To: "https://deep.example/x/"},
		{From: "apt:debian", To: "http://mirror/debian"},
	}})
	tests := []struct{ url, want string }{
		{"https://example.com/a", "http://mirror/all/a"},
		{"https://example.com/deep/a", "https://deep.example/x/a"},
		{"https://example.com/deeper", "http://mirror/all/deeper"},
		{"https://example.com.evil/a", "https://example.com.evil/a"},
		{"https://example.com", "http://mirror/all"},
		{"apt:debian/pool/a.deb", "http://mirror/debian/pool/a.deb"},
	}
	for _, tt := range tests {
		got, err := c.URL(tt.url)
		if err != nil || got != tt.want {
			t.Errorf("URL(%q) = %q, %v, want %q", tt.url, got, err, tt.want)
		}
	}
	for _, bad := range []string{"ftp://example.org/a", "file:///etc/passwd", "example.org/a", "offk8s:self"} {
		if got, err := c.URL(bad); err == nil {
			t.Errorf("URL(%q) = %q, want an error", bad, got)
		}
	}
	if _, err := c.URL("apt:debian-security/dists"); !errors.Is(err, fetch.ErrNoArchive) || !strings.Contains(err.Error(), `"debian-security"`) {
		t.Errorf("unknown archive: %v", err)
	}
	more, err := c.With([]manifests.Rewrite{{From: "apt:debian", To: "http://other"}, {From: "apt:extra", To: "http://extra"}})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := more.Archive("debian")
	second, ok := more.Archive("extra")
	if first != "http://mirror/debian" || second != "http://extra" || !ok {
		t.Errorf("archives %q and %q: those there first must win, new ones be known", first, second)
	}
}

func TestBadRewritesAreAllReported(t *testing.T) {
	_, err := fetch.NewClient(fetch.Options{Rewrites: []manifests.Rewrite{
		{From: "https://a", To: "mirror:5000"},
		{From: "", To: "http://b"},
		{From: "apt:debian", To: "mirror/debian"},
		{From: "registry.k8s.io", To: "ftp://c"},
		{From: "registry.k8s.io", To: "mirror:5000/k8s"},
	}})
	if err == nil || len(strings.Split(err.Error(), "\n")) != 4 {
		t.Errorf("got %v, want four problems", err)
	}
}

func TestGet(t *testing.T) {
	var busy atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			_, _ = io.WriteString(w, "0123456789")
		case "/busy":
			if busy.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case "/forbidden":
			w.WriteHeader(http.StatusForbidden)
		case "/agent":
			_, _ = io.WriteString(w, r.UserAgent())
		default:
			http.NotFound(w, r)
		}
	})
	c := newClient(t, fetch.Options{UserAgent: "offk8s/test"})
	if got, err := get(c, url+"/ok", 10); err != nil || got != "0123456789" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := get(c, url+"/ok", 9); !errors.Is(err, fetch.ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	for _, missing := range []string{"/none", "/forbidden"} {
		if _, err := get(c, url+missing, 9); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", missing, err)
		}
	}
	if _, err := get(c, url+"/busy", 9); err != nil || busy.Load() != 3 {
		t.Errorf("busy: %v after %d requests, want 3", err, busy.Load())
	}
	if got, _ := get(c, url+"/agent", 99); got != "offk8s/test" {
		t.Errorf("user agent %q", got)
	}
}

func TestBackoffGrowsAndEnds(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	var waits []time.Duration
	c := newClient(t, fetch.Options{Attempts: 8, Sleep: func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}})
	_, err := get(c, url, 1)
	var status *fetch.StatusError
	if !errors.As(err, &status) || status.Code != http.StatusBadGateway {
		t.Errorf("got %v", err)
	}
	var want []time.Duration
	for _, s := range []int{1, 2, 4, 8, 16, 30, 30} {
		want = append(want, time.Duration(s)*time.Second)
	}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

func TestT25RedirectLoopEnds(t *testing.T) {
	var n atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	if _, err := get(newClient(t, fetch.Options{}), url, 1); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("got %v", err)
	}
	if n.Load() > 12 {
		t.Errorf("%d requests", n.Load())
	}
}

func TestT25StandingBodyEnds(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first bytes")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newClient(t, fetch.Options{Attempts: 1, IdleTimeout: 50 * time.Millisecond})
	done := make(chan error, 1)
	go func() {
		_, err := get(c, url, 1<<20)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a body that never ends was accepted")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still waiting")
	}
}

func TestT25EndlessBodyIsCut(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if _, err := get(newClient(t, fetch.Options{}), url, 1<<20); !errors.Is(err, fetch.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, fetch.ErrTooLarge)
	}
}

func TestT24RedirectOutOfTLSIsRefused(t *testing.T) {
	var reached atomic.Bool
	plain := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain, http.StatusFound)
	}))
	t.Cleanup(secure.Close)
	c := newClient(t, fetch.Options{Transport: secure.Client().Transport})
	if _, err := get(c, secure.URL, 1); err == nil || !strings.Contains(err.Error(), "leaves TLS") {
		t.Errorf("got %v", err)
	}
	if reached.Load() {
		t.Error("the plain server was asked")
	}
}

func TestGetHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := newClient(t, fetch.Options{}).Get(ctx, url, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
