package durable

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

func TestWriteFile(t *testing.T) {
	for _, umask := range []int{0, 0o077} {
		old := syscall.Umask(umask)
		path := filepath.Join(t.TempDir(), "f")
		for _, mode := range []fs.FileMode{0o600, 0o644} {
			text := mode.String()
			if err := WriteFile(path, []byte(text), mode); err != nil {
				t.Error(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != mode {
				t.Errorf("umask %04o: mode %v, want %v (%v)", umask, info.Mode().Perm(), mode, err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != text {
				t.Errorf("holds %q, want %q (%v)", b, text, err)
			}
		}
		syscall.Umask(old)
		only(t, filepath.Dir(path), "f")
	}
}

// TestWriteFileAfterKill: a file that a killed process has left is replaced, and one that
// another user or a link has put there is not written to.
func TestWriteFileAfterKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(Partial(path), []byte("a longer text, that was cut"), 0o644); err != nil {
		t.Fatal(err)
	}
	left, err := os.Open(Partial(path))
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	if err := WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "f")
	if b, err := io.ReadAll(left); err != nil || string(b) != "a longer text, that was cut" {
		t.Errorf("who had opened the file that was left reads %q (%v)", b, err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, Partial(path)); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o600); !errors.Is(err, unix.ELOOP) {
		t.Errorf("through a link: %v", err)
	}
	if b, _ := os.ReadFile(other); string(b) != "other" {
		t.Errorf("a link leads to %q", b)
	}
}

// TestWriteFileAtOneTime: of many writers of one file each succeeds, and one wins as a whole.
func TestWriteFileAtOneTime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			for range 20 {
				if err := WriteFile(path, bytes.Repeat([]byte{'a' + byte(i)}, 1000), 0o600); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || len(b) != 1000 || bytes.Count(b, b[:1]) != 1000 {
		t.Errorf("holds %d bytes, %.10q… (%v)", len(b), b, err)
	}
	only(t, dir, "f")
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Create(path, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second"), 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "first" {
		t.Errorf("holds %q (%v)", b, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode().Perm(), err)
	}
	only(t, dir, "f")
}

// TestFailure leaves what was there, and nothing else.
func TestFailure(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "f", "g"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	only(t, dir, "f")
	only(t, filepath.Join(dir, "f"), "g")
	for name, err := range map[string]error{
		"WriteFile": WriteFile(filepath.Join(dir, "none", "f"), nil, 0o600),
		"Create":    Create(filepath.Join(dir, "none", "f"), nil, 0o600),
		"Rename":    Rename(filepath.Join(dir, "none"), filepath.Join(dir, "f2")),
		"SyncDir":   SyncDir(filepath.Join(dir, "none")),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s where nothing is: %v", name, err)
		}
	}
}

func only(t *testing.T, dir, name string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || list[0].Name() != name {
		t.Errorf("%s holds %v, want %q alone (%v)", dir, list, name, err)
	}
}
