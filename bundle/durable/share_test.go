package durable

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"
)

// TestShare appends pieces of a file where blocks are shared and where they are not.
func TestShare(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcde"), leastWindow/10)
	for name, where := range map[string]struct {
		dir    string
		shares bool
	}{"xfs": {testenv.FileSystem(t, 512<<20, "mkfs.xfs", "-q", "-m", "reflink=1"), true}, "here": {t.TempDir(), false}} {
		if !where.shares && Shares(where.dir, where.dir) {
			t.Logf("%q shares blocks too", where.dir)
			where.shares = true
		}
		if got := Shares(where.dir, where.dir); got != where.shares {
			t.Errorf("%s: blocks are shared: %v", name, got)
		}
		path := filepath.Join(where.dir, "src")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(where.dir, "dest"))
		if err != nil {
			t.Fatal(err)
		}
		s := Stream{File: f}
		want := make([]byte, ShareUnit)
		if _, err := s.Write(want); err != nil {
			t.Fatal(err)
		}
		for _, off := range []int64{1, 0, 4 * ShareUnit} {
			size := int64(len(content)) - off
			shared := s.Share(src, off, size)
			if (shared > 0) != (where.shares && off%ShareUnit == 0 && len(want)%ShareUnit == 0) || shared%ShareUnit != 0 {
				t.Errorf("%s, at %d for %d: %d bytes are shared", name, off, len(want), shared)
			}
			if _, err := s.Write(content[off+shared:]); err != nil {
				t.Fatal(err)
			}
			want = append(want, content[off:]...)
			pad := make([]byte, -len(want)&(ShareUnit-1))
			if _, err := s.Write(pad); err != nil {
				t.Fatal(err)
			}
			want = append(want, pad...)
		}
		if err := errors.Join(s.Sync(), s.Close(), src.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d, or others (%v)", name, len(got), len(want), err)
		}
	}
	if Shares(t.TempDir(), "/proc") || Shares(filepath.Join(t.TempDir(), "none"), t.TempDir()) {
		t.Error("blocks are shared with a directory that takes no files")
	}
}
