package installer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/offk8s/offk8s/installer/agent"
)

// LockState takes the state folder of a cluster for this process, so that two
// installs do not take turns on the same hosts: each agent locks its host only
// while it works. The error is agent.ErrLocked and names the holder. The lock
// is the kernel's, so a dead process holds none; on network file systems it
// works as far as flock does there.
func LockState(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 128)
		n, _ := f.Read(holder)
		err = errors.Join(err, f.Close())
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("state folder %q: %w: %s", dir, agent.ErrLocked, strings.TrimSpace(string(holder[:n])))
		}
		return nil, fmt.Errorf("lock state folder %q: %w", dir, err)
	}
	// Whose it is, is for people; an error of writing it does not matter.
	machine, _ := os.Hostname()
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "process %d on %s\n", os.Getpid(), machine)
	}
	return f.Close, nil
}
