package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte("process 123456789 on a machine with a long name\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(path) // over the file of a dead process
	if err != nil {
		t.Fatal(err)
	}
	holder := fmt.Sprintf("process %d on ", os.Getpid())
	if _, err := Lock(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), holder) || strings.Contains(err.Error(), "long name") {
		t.Errorf("second lock: %v, want ErrLocked by %s", err, holder)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(path)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}

func TestLockRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, unix.ELOOP) {
		t.Errorf("symbolic link: %v, want %v", err, unix.ELOOP)
	}
	only(t, dir, "lock")
}
