package installer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/manifests"
)

func TestT63LockState(t *testing.T) {
	dir := t.TempDir()
	unlock, err := installer.LockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = installer.LockState(dir)
	if !errors.Is(err, agent.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on ", os.Getpid())) {
		t.Errorf("error %v, want ErrLocked that names process and machine", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := installer.LockState(dir)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
}

// Of two operators, one gets all hosts. The other stops at the first control plane, with
// the name of the first, and touches no other host.
func TestT63TwoOperators(t *testing.T) {
	l := newLab(t, "w-1", "cp-1", "cp-2")
	for i := range l.cluster.Hosts[1:] {
		l.cluster.Hosts[i+1].Roles = []manifests.Role{manifests.RoleControlPlane}
	}
	alice, bob := l.connect(), l.connect()
	plan := l.plan(files("one"))
	if err := alice.Lock(t.Context(), installer.LockOptions{Operator: "alice@laptop"}); err != nil {
		t.Fatal(err)
	}
	err := bob.Lock(t.Context(), installer.LockOptions{Operator: "bob@bastion"})
	if !errors.Is(err, agent.ErrLocked) || !strings.Contains(err.Error(), "alice@laptop since ") || !strings.HasPrefix(err.Error(), "cp-1: ") || strings.Contains(err.Error(), "cp-2") {
		t.Errorf("error %v, want ErrLocked of cp-1 alone by alice", err)
	}
	if _, err := installer.Run(t.Context(), plan, bob, installer.RunOptions{}); !errors.Is(err, agent.ErrLocked) {
		t.Errorf("a run beside the other: %v, want ErrLocked", err)
	}
	for n, h := range l.hosts {
		if _, err := os.Stat(filepath.Join(h.world.Root, "etc/one/a")); err == nil {
			t.Errorf("%s was changed", n)
		}
	}
	if _, err := installer.Run(t.Context(), plan, alice, installer.RunOptions{Operator: "alice@laptop"}); err != nil {
		t.Errorf("the run of the holder: %v", err)
	}
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	if err := bob.Lock(t.Context(), installer.LockOptions{Operator: "bob@bastion"}); err != nil {
		t.Errorf("after the first: %v", err)
	}
}
