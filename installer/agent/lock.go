package agent

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/offk8s/offk8s/installer/step"
)

// lockFile is held by flock, so that a lock of a dead agent is gone with it.
const lockFile = StateDir + "/lock"

// lock takes the host for this process; ErrLocked names the holder.
func lock(env *step.Env) (unlock func(), err error) {
	if err := stateDir(env); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(env.Path(lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock host: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.Read(holder)
		err = errors.Join(err, f.Close())
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (process %s)", ErrLocked, strings.TrimSpace(string(holder[:n])))
		}
		return nil, fmt.Errorf("lock host: %w", err)
	}
	// The pid is for people; an error of writing it does not matter.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return func() { _ = f.Close() }, nil
}

// stateDir makes StateDir, which only root may look into: priors in the
// journal can hold what secret files held. A link in its place is refused.
func stateDir(env *step.Env) error {
	dir := env.Path(StateDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("state directory %q: is not a directory", StateDir)
	}
	return os.Chmod(dir, 0o700)
}
