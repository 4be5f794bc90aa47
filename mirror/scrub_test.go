package mirror

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
)

const plugins = "/files/cni/cni-plugins.tgz"

func TestVerify(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	if err := m.Verify(t.Context()); err != nil {
		t.Fatalf("a good bundle: %v", err)
	}
	damage(t, s.Bundle, digest.FromString("cni plugins"))
	damage(t, s.Bundle, s.layer)
	err := m.Verify(t.Context())
	if !errors.Is(err, bundle.ErrVerify) {
		t.Fatalf("error %v, want ErrVerify", err)
	}
	if _, ok := errors.AsType[*bundle.ArtifactError](err); !ok || !strings.Contains(err.Error(), plugins) || !strings.Contains(err.Error(), "pause:3.10") {
		t.Errorf("the damaged artifacts are not named: %v", err)
	}
	for _, path := range []string{plugins, "/v2/pause/blobs/" + s.layer.String()} {
		r := get(m, "GET", path)
		if r.StatusCode != 500 || r.Header.Get("Etag") != "" {
			t.Errorf("%s: status %d, want 500", path, r.StatusCode)
		}
	}
	if r := get(m, "GET", "/apt/debian-12/dists/offk8s/InRelease"); r.StatusCode != 200 {
		t.Errorf("a good file: status %d", r.StatusCode)
	}
}

func TestVerifyStopsWithItsContext(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if r := get(m, "GET", plugins); r.StatusCode != 200 {
		t.Errorf("an interrupted scrub made %s bad: status %d", plugins, r.StatusCode)
	}
}

// lines is a log that a test can wait for.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// The scrub starts by itself and finds a bad blob nobody has asked for.
func TestScrubInTheBackground(t *testing.T) {
	s := newSample(t)
	log := make(lines, 10)
	damage(t, s.Bundle, digest.FromString("cni plugins"))
	m := mirrorOf(t, Options{ScrubRate: 1 << 40, Log: slog.New(slog.NewTextHandler(log, nil))}, s.Bundle)
	start(t, &Server{Mirror: m, Listeners: []net.Listener{listen(t)}})
	if line := <-log; !strings.Contains(line, plugins) {
		t.Errorf("the log does not name the file: %s", line)
	}
	if r := get(m, "GET", plugins); r.StatusCode != 500 {
		t.Errorf("status %d, want 500", r.StatusCode)
	}
}

// After a file was written to while it is served, it is no longer trusted, even if
// the change hides behind the old modification time.
func TestT33ChangedFileIsHashedBeforeItIsSent(t *testing.T) {
	s := newSample(t)
	before, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	m := mirrorOf(t, Options{}, s.Bundle)
	if err := m.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := get(m, "GET", plugins); r.StatusCode != 200 || m.watch.generation.Load() != 0 {
		t.Fatalf("before a change: status %d, generation %d", r.StatusCode, m.watch.generation.Load())
	}
	damage(t, s.Bundle, digest.FromString("cni plugins"))
	if err := os.Chtimes(s.Path(), before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		if r := get(m, "GET", plugins); r.StatusCode != 500 || r.Header.Get("Etag") != "" {
			t.Errorf("%s: status %d, want 500", plugins, r.StatusCode)
		}
	}
	if r := get(m, "GET", "/apt/debian-12/dists/offk8s/InRelease"); r.StatusCode != 200 {
		t.Errorf("an unchanged file: status %d", r.StatusCode)
	}
	if n := m.watch.generation.Load(); n != 1 {
		t.Errorf("one change was seen %d times", n)
	}
	damage(t, s.Bundle, digest.FromString("cni plugins")) // back to what it was
	if r := get(m, "GET", plugins); r.StatusCode != 200 {
		t.Errorf("after the repair: status %d", r.StatusCode)
	}
}

// A blob that was damaged before the start is never sent, whatever asks for it
// first: neither in full nor by range, stored or decoded.
func TestT33NothingIsSentUnchecked(t *testing.T) {
	s := newSample(t)
	damage(t, s.Bundle, digest.FromString("cni plugins"))
	damage(t, s.Bundle, digest.FromBytes(s.stored))
	damage(t, s.Bundle, s.layer)
	m := mirrorOf(t, Options{}, s.Bundle)
	tests := []struct{ method, path, name, value string }{
		{"GET", plugins, "Range", "bytes=0-3"},
		{"HEAD", plugins, "", ""},
		{"GET", plugins, "", ""},
		{"GET", "/files/kubernetes/1.36.3/amd64/kubelet", "", ""},
		{"GET", "/files/kubernetes/1.36.3/amd64/kubelet", "Accept-Encoding", "zstd"},
		{"GET", "/v2/pause/blobs/" + s.layer.String(), "", ""},
		{"GET", "/bundle/blobs/sha256/" + s.layer.Encoded(), "", ""},
	}
	for _, tt := range tests {
		if r := get(m, tt.method, tt.path, tt.name, tt.value); r.StatusCode != 500 {
			t.Errorf("%s %s (%s): status %d, want 500", tt.method, tt.path, tt.value, r.StatusCode)
		}
	}
	if r := get(m, "GET", "/v2/pause/manifests/3.10"); r.StatusCode != 200 {
		t.Errorf("a good manifest: status %d", r.StatusCode)
	}
}

// Clients that all ask while the file is written to never get a wrong answer that
// looks complete.
func TestT33WritesUnderLoad(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	start(t, &Server{Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l}})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := http.Get("http://" + l.Addr().String() + plugins)
				if err != nil {
					continue
				}
				got, err := io.ReadAll(r.Body)
				_ = r.Body.Close()
				if r.StatusCode == 200 && err == nil && string(got) != "cni plugins" {
					t.Errorf("wrong bytes with status 200: %q", got)
				}
			}
		})
	}
	for range 20 {
		damage(t, s.Bundle, digest.FromString("cni plugins"))
		time.Sleep(7 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
}

// A client that waits for a check ends with its context, and the check continues.
func TestWaitingForACheckEndsWithTheRequest(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	b := m.routes.blobs[digest.FromString("cni plugins")]
	running := &checking{done: make(chan struct{})}
	b.running = running // and does not end
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan *httptest.ResponseRecorder)
	go func() {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", plugins, nil))
		answer <- w
	}()
	cancel()
	if w := <-answer; w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", w.Code)
	}
	if b.running != running {
		t.Error("the check ended with the request")
	}
}

// A request does not wait for the slow background scrub.
func TestRequestsGoBeforeTheScrub(t *testing.T) {
	f, content := slowBundle(t)
	l := listen(t)
	start(t, &Server{Mirror: mirrorOf(t, Options{ScrubRate: 1}, f), Listeners: []net.Listener{l}})
	r, err := http.Get("http://" + l.Addr().String() + "/files/large")
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, r); got != string(content) {
		t.Errorf("status %d, %d bytes of %d", r.StatusCode, len(got), len(content))
	}
}

func TestPauseKeepsTheRate(t *testing.T) {
	start := time.Now()
	if err := pause(t.Context(), 1000, 50, 0); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("50 bytes at 1000 a second took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, 1, 1<<40, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled at once", err)
	}
}

// A file that gives its name to the next bundle is hashed again, as one that was written to,
// and is no error.
func TestMovedFileIsNoError(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"moved": {func(path string) error { return os.Rename(path, path+".old") }, "level=INFO"},
		"replaced": {func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		}, "level=INFO"},
		"written": {func(path string) error { return os.WriteFile(path, []byte("other bytes"), 0o600) }, "level=ERROR"},
		"grown":   {func(path string) error { return os.Truncate(path, 100) }, "level=ERROR"},
	} {
		path := filepath.Join(t.TempDir(), "b.tar")
		if err := os.WriteFile(path, []byte("content of b"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s, err := stampOf(f)
		if err != nil {
			t.Fatal(err)
		}
		s.changed.Sec-- // the clock of the file system has ticks
		var log strings.Builder
		x := &watched{file: f}
		x.last.Store(&s)
		w := &watcher{log: slog.New(slog.NewTextHandler(&log, nil)), files: []*watched{x}}
		if err := tt.change(path); err != nil {
			t.Fatal(err)
		}
		if generation, err := w.look(); err != nil || generation != 1 || !strings.Contains(log.String(), tt.want) {
			t.Errorf("%s: generation %d, %v, log %q, want %s", name, generation, err, log.String(), tt.want)
		}
	}
}
