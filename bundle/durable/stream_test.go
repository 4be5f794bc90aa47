package durable

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
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
	for len(want) < 4*streamWindow {
		if _, err := s.Write(piece); err != nil {
			t.Fatal(err)
		}
		want = append(want, piece...)
	}
	if s.settled == 0 && !s.never {
		t.Errorf("nothing is on the device after %d bytes", len(want))
	}
	if err := errors.Join(s.Sync(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, not the %d that were written (%v)", len(got), len(want), err)
	}
}

// TestStreamElsewhere writes to a pipe, for which there is no sync_file_range.
func TestStreamElsewhere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	s := Stream{File: w}
	for range 4 {
		if _, err := s.Write(make([]byte, streamWindow)); err != nil {
			t.Fatal(err)
		}
	}
	if !s.never {
		t.Error("the kernel is asked to write a pipe to the device")
	}
	_ = w.Close()
}
