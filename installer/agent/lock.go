package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/strict"
)

const lockFile = StateDir + "/lock"

// stopping is added to the lock file by an agent whose operator is gone.
const stopping = "stopping"

const (
	// maxStopping is more than a step may need to stop.
	maxStopping = 15 * time.Minute
	// endPoll is the pause between attempts to lock after another agent was ended.
	endPoll = 200 * time.Millisecond
)

// lock locks this host for the process; ErrLocked names the holder. It waits for a holder
// that is stopping, as after a lost connection; when ctx ends, the process is such a
// holder. With req.TakeOver it ends the holder and waits for it.
func lock(ctx context.Context, env *step.Env, req Request) (unlock func() error, err error) {
	if err := stateDir(env); err != nil {
		return nil, err
	}
	file := env.Path(lockFile)
	held, err := durable.LockAs(file, holder(req))
	if errors.Is(err, durable.ErrLocked) {
		held, err = waitLock(ctx, env, req)
	}
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock host: %w", err)
	}
	marked := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(marked)
		// Without the mark, others do not wait.
		if f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0); err == nil {
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

// waitLock waits for a holder that is stopping, or that it ends. The error is
// durable.ErrLocked if it keeps the lock.
func waitLock(ctx context.Context, env *step.Env, req Request) (unlock func() error, err error) {
	file, waited, ended := env.Path(lockFile), "", false
	for start := time.Now(); ; {
		if unlock, err = durable.LockAs(file, holder(req)); !errors.Is(err, durable.ErrLocked) {
			return unlock, err
		}
		line, _ := os.ReadFile(file)
		pause := Beat
		switch stops := strings.Contains(string(line), "\n"+stopping); {
		case time.Since(start) > maxStopping, !stops && !ended && !req.TakeOver:
			return nil, err
		case !stops && !ended:
			if end := endAgent(line); end != nil {
				return nil, fmt.Errorf("%w: cannot end it: %w", err, end)
			}
			ended = true // one signal: a second one would not let a transaction finish
		}
		if ended {
			pause = endPoll
		}
		if waited == "" {
			waited = string(line)
			env.Log.Warn("waiting for the agent of an earlier run to stop", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// holder returns the line that names the operator of the request in the lock:
// "alice@laptop since 2026-11-26T06:00:00Z, process 4711 on cp-1".
func holder(req Request) string {
	since := req.Started
	if since.IsZero() {
		since = time.Now()
	}
	host, _ := os.Hostname()
	return fmt.Sprintf("%s since %s, process %d on %s", cmp.Or(req.Operator, "an operator"), since.UTC().Format(time.RFC3339), os.Getpid(), host)
}

var holderProcess = strict.NewPattern(`(?m), process ([0-9]+) on [^,\n]*$`)

// endAgent sends SIGTERM to the process that a lock names, if it is an agent. At the
// signal, an agent begins no other step, and waits for the transaction of a package manager.
func endAgent(line []byte) error {
	m := holderProcess.Regexp().FindSubmatch(line)
	if m == nil {
		return errors.New("its process is not known")
	}
	pid, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return err
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has just ended
	}
	if err != nil {
		return err
	}
	args := strings.Split(string(cmdline), "\x00")
	if len(args) < 2 || path.Base(args[0]) != "offk8s" || args[1] != "agent" {
		return fmt.Errorf("process %d is %q, not an agent of offk8s", pid, args[0])
	}
	return unix.Kill(pid, unix.SIGTERM)
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
