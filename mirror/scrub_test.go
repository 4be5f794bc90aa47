package mirror

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
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
	m := mirrorOf(t, Options{ScrubRate: 1 << 40, Log: slog.New(slog.NewTextHandler(log, nil))}, s.Bundle)
	damage(t, s.Bundle, digest.FromString("cni plugins"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { m.Scrub(ctx); close(done) }()
	if line := <-log; !strings.Contains(line, plugins) {
		t.Errorf("the log does not name the file: %s", line)
	}
	cancel()
	<-done
	if r := get(m, "GET", plugins); r.StatusCode != 500 {
		t.Errorf("status %d, want 500", r.StatusCode)
	}
}

// After a file was written to while it is served, it is no longer trusted.
func TestT33ChangedFileIsHashedBeforeItIsSent(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	if err := m.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.changed() {
		t.Fatal("a change was seen before there was one")
	}
	damage(t, s.Bundle, digest.FromString("cni plugins"))
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(s.Path(), later, later); err != nil {
		t.Fatal(err)
	}
	if !m.changed() {
		t.Fatal("the change was not seen")
	}
	if r := get(m, "GET", plugins); r.StatusCode != 500 {
		t.Errorf("%s: status %d, want 500", plugins, r.StatusCode)
	}
	if r := get(m, "GET", "/apt/debian-12/dists/offk8s/InRelease"); r.StatusCode != 200 {
		t.Errorf("an unchanged file: status %d", r.StatusCode)
	}
	if m.changed() {
		t.Error("one change was seen twice")
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
