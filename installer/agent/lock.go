package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/step"
)

const lockFile = StateDir + "/lock"

// stopping is added to the lock file by an agent whose operator is gone.
const stopping = "stopping"

// maxStopping is more than a step may need to stop.
const maxStopping = 15 * time.Minute

// lock locks this host for the process; ErrLocked names the holder. It waits for a holder
// that is stopping, as after a lost connection; when ctx ends, the process is such a holder.
func lock(ctx context.Context, env *step.Env) (unlock func() error, err error) {
	if err := stateDir(env); err != nil {
		return nil, err
	}
	path := env.Path(lockFile)
	var held func() error
	waited := ""
	for start := time.Now(); ; {
		held, err = durable.Lock(path)
		if !errors.Is(err, durable.ErrLocked) {
			break
		}
		holder, _ := os.ReadFile(path)
		err = fmt.Errorf("%w: %w", ErrLocked, err)
		if !strings.Contains(string(holder), stopping) || time.Since(start) > maxStopping {
			return nil, err
		}
		if waited != string(holder) {
			waited = string(holder)
			env.Log.Warn("waiting for the agent of an earlier run to stop", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(Beat):
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock host: %w", err)
	}
	marked := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(marked)
		// Without the mark, others do not wait.
		if f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err == nil {
			_, _ = f.WriteString(stopping + "\n")
			_ = f.Close()
		}
	})
	return func() error {
		if !forget() {
			<-marked
		}
		return held()
	}, nil
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
