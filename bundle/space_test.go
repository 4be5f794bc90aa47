package bundle_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/test/testenv"
)

// TestT62DiskFull seals on a disk that is too small, and on one that another program
// fills meanwhile: what was there stays, and nothing else is left.
func TestT62DiskFull(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "b.tar")
	old := bundletest.New(t)
	old.AddSmall(t)
	split(t, old, path, 0)
	want := read(t, path)

	huge := bundletest.New(t)
	huge.AddFile(t, "huge", "huge", noisy(2<<20, 1), false)
	fits := large(t)
	noise := fits.Lock.Artifacts[len(fits.Lock.Artifacts)-1].Blob.Digest
	filler := filepath.Join(dir, "filler")
	for name, seal := range map[string]struct {
		of    *bundletest.Builder
		limit int64
		fill  bool
		text  string
	}{
		"too small":                       {huge, 0, false, "b.tar\" needs 2.0 MiB, found "},
		"too small, in parts":             {huge, partSize, false, "b.tar\" needs 2.0 MiB, found "},
		"filled by another one":           {fits, 0, true, "no space left on device"},
		"filled by another one, in parts": {fits, partSize, true, "no space left on device"},
	} {
		in := seal.of.Input()
		in.Split = seal.limit
		open := in.Open
		in.Open = func(d digest.Digest) (io.ReadCloser, error) {
			if seal.fill && d == noise {
				if err := os.WriteFile(filler, bytes.Repeat([]byte("x"), 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("the disk is not full: %v", err)
				}
			}
			return open(d)
		}
		_, err := bundle.SealFile(t.Context(), path, in)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), seal.text) {
			t.Errorf("%s: got %v, want %q", name, err, seal.text)
		}
		_ = os.Remove(filler)
		if diff := cmp.Diff([]string{""}, listDir(t, path)); diff != "" || !bytes.Equal(read(t, path), want) {
			t.Errorf("%s: the bundle was altered, or files were left (-want +got):\n%s", name, diff)
		}
	}
}
