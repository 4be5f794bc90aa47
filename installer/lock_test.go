package installer_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
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
