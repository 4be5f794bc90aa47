package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another process, or another Lock of this one, holds a lock.
var ErrLocked = errors.New("locked")

// Lock locks the file path, which it creates if necessary and which names the
// holder: "process 4711 on bastion". See LockAs.
func Lock(path string) (unlock func() error, err error) {
	host, _ := os.Hostname()
	return LockAs(path, fmt.Sprintf("process %d on %s", os.Getpid(), host))
}

// LockAs locks the file path, which it creates if necessary, and writes holder into it,
// a line for people. If the lock is held already, the error is ErrLocked with the line
// of its holder. The kernel releases the lock when the process ends, so that a file left
// by a crash does not matter; on a network file system the lock is as good as its flock.
// A symbolic link at path is refused.
func LockAs(path, holder string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			text, _ := io.ReadAll(io.LimitReader(f, 256))
			holder, _, _ := strings.Cut(string(text), "\n")
			err = fmt.Errorf("%w by %s", ErrLocked, holder)
		}
		return nil, errors.Join(err, f.Close())
	}
	// Not being able to write it does not matter.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintln(f, holder)
	}
	return f.Close, nil
}
