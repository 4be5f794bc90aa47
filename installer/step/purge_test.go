package step_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestPurge(t *testing.T) {
	tests := []struct {
		name   string
		before string // a file below the directory before Apply, "" for none
		there  bool   // the directory was there
		gone   bool   // the daemon's file is removed by Undo
		stays  bool   // the directory is there after Undo
	}{
		{name: "new directory", gone: true},
		{name: "was there empty", there: true, gone: true, stays: true},
		{name: "was there with data", there: true, before: "data", stays: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			dir := filepath.Join(w.Root, "var/lib/etcd")
			if tt.there {
				w.Write(t, "var/lib/etcd/x", "", 0o600)
				if err := os.Remove(filepath.Join(dir, "x")); err != nil {
					t.Fatal(err)
				}
			}
			if tt.before != "" {
				w.Write(t, "var/lib/etcd/"+tt.before, "old", 0o600)
			}
			s := &step.Directory{Path: "/var/lib/etcd", Mode: 0o700, Purge: true}
			res, err := s.Apply(t.Context(), w.Env())
			if err != nil {
				t.Fatal(err)
			}
			w.Write(t, "var/lib/etcd/member/wal", "daemon", 0o600)
			if err := s.Undo(t.Context(), w.Env(), res.Prior); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "member/wal")); os.IsNotExist(err) != tt.gone {
				t.Errorf("daemon's file: %v, want gone %t", err, tt.gone)
			}
			if _, err := os.Lstat(dir); os.IsNotExist(err) == tt.stays {
				t.Errorf("directory: %v, want it to stay %t", err, tt.stays)
			}
		})
	}
}

func TestT49PurgeStopsAtLinksAndMounts(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := steptest.New(t)
	s := &step.Directory{Path: "/var/lib/kubelet", Purge: true}
	res, err := s.Apply(t.Context(), w.Env())
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t, "var/lib/kubelet/pods/a", "x", 0o600)
	if err := os.Symlink(outside, filepath.Join(w.Root, "var/lib/kubelet/link")); err != nil {
		t.Fatal(err)
	}
	mounts := "36 35 0:1 / /var/lib/kubelet/pods\\040x rw - tmpfs tmpfs rw\n37 35 0:1 / /var/lib/kubeletx rw - tmpfs tmpfs rw\n"
	w.Write(t, "proc/self/mountinfo", mounts, 0o644)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return steptest.Say("") }
	err = s.Undo(t.Context(), w.Env(), res.Prior)
	if err == nil || !strings.Contains(err.Error(), `"/var/lib/kubelet/pods x" is still mounted`) {
		t.Errorf("error %v, want one that names the mount", err)
	}
	if w.Read(t, "var/lib/kubelet/pods/a") != "x" {
		t.Error("removed below a mount")
	}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if got := strings.Join(c.Argv, " "); got != "umount -- /var/lib/kubelet/pods x" {
			t.Errorf("ran %q", got)
		}
		w.Write(t, "proc/self/mountinfo", "", 0o644)
		return steptest.Say("")
	}
	if err := s.Undo(t.Context(), w.Env(), res.Prior); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "keep" {
		t.Errorf("followed a link out of the directory: %q %v", b, err)
	}
}

func TestT49HostilePathsRefused(t *testing.T) {
	for _, p := range []string{"", "/", "//", "relative", "/a/../..", "/a/", "/a\nb", "/."} {
		for _, s := range []step.Step{
			&step.Directory{Path: p, Purge: true}, &step.File{Path: p}, &step.Absent{Path: p},
			&step.Block{Path: p}, &step.Symlink{Path: p, To: "/x"},
		} {
			if s.Validate() == nil {
				t.Errorf("%s accepts path %q", s.Kind(), p)
			}
		}
	}
}
