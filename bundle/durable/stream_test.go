package durable

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	s := Stream{File: f}
	piece := bytes.Repeat([]byte("0123456789abcde"), 100_000) // no multiple of a page
	var want []byte
	for len(want) < 16*leastWindow {
		if _, err := s.Write(piece); err != nil {
			t.Fatal(err)
		}
		want = append(want, piece...)
	}
	if s.begun < 2*leastWindow && !s.never {
		t.Errorf("%d bytes were synced while %d were written", s.begun, len(want))
	}
	if err := errors.Join(s.Sync(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, not the %d that were written (%v)", len(got), len(want), err)
	}
}

// TestStreamElsewhere writes to a pipe, which cannot be synced.
func TestStreamElsewhere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	s := Stream{File: w}
	for range 4 {
		if _, err := s.Write(make([]byte, leastWindow)); err != nil {
			t.Fatal(err)
		}
	}
	if !s.never {
		t.Error("a pipe is synced")
	}
	_ = w.Close()
}

func TestNextWindow(t *testing.T) {
	for _, c := range []struct {
		window int64
		took   time.Duration
		want   int64
	}{
		{leastWindow, syncShort - 1, 2 * leastWindow},
		{mostWindow, 0, mostWindow},
		{mostWindow, syncShort, mostWindow},
		{mostWindow, syncLong, mostWindow},
		{mostWindow, syncLong + 1, mostWindow / 2},
		{leastWindow, time.Minute, leastWindow},
	} {
		if got := nextWindow(c.window, c.took); got != c.want {
			t.Errorf("after %d bytes in %s: %d, want %d", c.window, c.took, got, c.want)
		}
	}
}
