package step_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/test/testenv"
)

// Files of the system that are edited keep their SELinux type.
func TestEditKeepsLabel(t *testing.T) {
	testenv.NeedRoot(t)
	w := steptest.New(t)
	for path, text := range map[string]string{
		"etc/hosts": "127.0.1.1 old\n", "etc/hostname": "old\n", "etc/fstab": "/dev/x none swap sw 0 0\n",
		"proc/sys/kernel/hostname": "old\n", "proc/swaps": "Filename\n",
	} {
		w.Write(t, path, text, 0o644)
	}
	label := func(path string) string { return "system_u:object_r:" + strings.ReplaceAll(path, "/", "_") + "_t:s0" }
	edits := map[string]step.Step{
		"etc/hosts":    &step.Block{Path: "/etc/hosts", Lines: []string{"10.0.0.1 cp-1"}},
		"etc/hostname": &step.Hostname{Name: "cp-1"},
		"etc/fstab":    &step.Swap{},
	}
	for path, s := range edits {
		file := w.Env().Path("/" + path)
		if err := unix.Lsetxattr(file, "security.selinux", []byte(label(path)), 0); err != nil {
			t.Skipf("the file system keeps no label: %v", err)
		}
		if _, err := s.Apply(t.Context(), w.Env()); err != nil {
			t.Fatal(err)
		}
		have := make([]byte, 200)
		n, err := unix.Lgetxattr(file, "security.selinux", have)
		if err != nil || string(have[:n]) != label(path) {
			t.Errorf("%s: label %q, %v; want %q", path, have[:max(n, 0)], err, label(path))
		}
	}
}
