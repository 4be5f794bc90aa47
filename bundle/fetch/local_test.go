package fetch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/reader"
)

func TestDigestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if d, n, err := fetch.DigestFile(t.Context(), name); err != nil || n != 3 || d.Encoded()[:8] != "ba7816bf" {
		t.Errorf("DigestFile = %s, %d, %v", d, n, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := fetch.DigestFile(stopped, name); !errors.Is(err, context.Canceled) {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if _, _, err := fetch.DigestFile(t.Context(), filepath.Dir(name)); !errors.Is(err, reader.ErrNotRegular) {
		t.Errorf("of a directory: %v", err)
	}
}
