package agent

import (
	"errors"
	"fmt"
	"os"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/step"
)

const lockFile = StateDir + "/lock"

// lock locks this host for the process; ErrLocked names the holder.
func lock(env *step.Env) (unlock func() error, err error) {
	if err := stateDir(env); err != nil {
		return nil, err
	}
	unlock, err = durable.Lock(env.Path(lockFile))
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock host: %w", err)
	}
	return unlock, nil
}

// stateDir makes StateDir, which only root may look into: priors in the
// journal can contain previous secret files. It refuses a link in its place.
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
