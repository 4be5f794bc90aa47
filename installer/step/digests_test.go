package step_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// A program that has not changed is not read again; one that has is, whatever its size
// and times say.
func TestDigests(t *testing.T) {
	w := steptest.New(t)
	content := strings.Repeat("a", 1<<20)
	a := &step.Artifact{Digest: digest.FromString(content), Path: "/bin/x"}
	path := filepath.Join(w.Root, a.Path)
	// Files of a test are new; the clock of the host goes on.
	defer step.SetSettled(-time.Hour)()
	d := step.NewDigests(nil)
	check := func() step.State {
		env := w.Env()
		env.Digests = d
		res, err := a.Check(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		return res.State
	}
	w.Write(t, a.Path, content, 0o755)
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if got := check(); got != step.OK {
		t.Fatal(got)
	}
	files := d.Changed()
	if len(files) != 1 || d.Changed() != nil {
		t.Fatalf("remembers %v", files)
	}
	// With another digest for the file, a check believes it and does not read.
	for k, f := range files {
		f.Digest = digest.FromString("other")
		files[k] = f
	}
	d = step.NewDigests(files)
	a.Digest = digest.FromString("other")
	if got := check(); got != step.OK || d.Changed() != nil {
		t.Errorf("state %s: the file was read again", got)
	}
	// The same size and the same modification time: only the time of the change of the
	// inode differs, once the clock of the file system has gone on.
	ctime := func() int64 {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Sys().(*syscall.Stat_t).Ctim.Nano()
	}
	for before := ctime(); ctime() == before; {
		w.Write(t, a.Path, "b"+content[1:], 0o755)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if got := check(); got != step.Differs {
		t.Errorf("changed content: %s", got)
	}
}

// A file that has just changed, and a small one, are not remembered.
func TestDigestsOfNewFiles(t *testing.T) {
	for path, size := range map[string]int{"/bin/new": 1 << 20, "/bin/small": 10} {
		t.Run(path, func(t *testing.T) {
			w := steptest.New(t)
			content := strings.Repeat("a", size)
			w.Write(t, path, content, 0o755)
			env := w.Env()
			env.Digests = step.NewDigests(nil)
			if path == "/bin/small" {
				defer step.SetSettled(-time.Hour)()
			}
			a := &step.Artifact{Digest: digest.FromString(content), Path: path}
			if res, err := a.Check(t.Context(), env); err != nil || res.State != step.OK {
				t.Errorf("%v, %v", res, err)
			}
			if env.Digests.Changed() != nil {
				t.Error("it is remembered")
			}
		})
	}
}
