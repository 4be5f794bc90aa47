package step

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// lastLook is how long a look that has begun may take beyond the timeout of Poll.
const lastLook = 10 * time.Second

// Awaited are hosts that do their part of the work at the same time as this one.
type Awaited struct {
	Hosts []string
	For   time.Duration // how long a step waits for them at least
}

func (a Awaited) timeout(d time.Duration) time.Duration { return max(d, a.For) }

// Poll calls look every interval until it returns no reason to wait longer. After
// timeout it returns an error that names what was waited for and the last reason,
// or error, of look. If ctx ends, Poll returns its cause. It logs the reasons to env, and
// waits longer if other hosts are awaited.
func Poll(ctx context.Context, env *Env, timeout, interval time.Duration, what string, look func(context.Context) (reason string, err error)) error {
	timeout = env.Awaited.timeout(timeout)
	// A look that has begun may finish, so that there is always a last reason.
	lookCtx, cancel := context.WithTimeout(ctx, timeout+lastLook)
	defer cancel()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	last, wait := "nothing was seen", patience{log: env.Log, awaited: env.Awaited}
	for {
		reason, err := look(lookCtx)
		switch {
		case err == nil && reason == "":
			return nil
		case err == nil:
			last = reason
		case lookCtx.Err() == nil:
			last = err.Error()
		}
		wait.longer(ctx, last)
		t := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-deadline.C:
			t.Stop()
			return fmt.Errorf("%s: not within %s (last: %s)", what, timeout, last)
		case <-t.C:
		}
	}
}

// patience logs why a step waits longer, when the reason changes: the operator sees
// the cause of the delay.
type patience struct {
	log     *slog.Logger
	awaited Awaited
	last    string
}

func (p *patience) longer(ctx context.Context, reason string) {
	switch {
	case p.last == "" && len(p.awaited.Hosts) > 0:
		p.log.WarnContext(ctx, fmt.Sprintf("waiting for %s, up to %s: %s", strings.Join(p.awaited.Hosts, ", "), p.awaited.For, reason))
	case reason != p.last:
		p.log.DebugContext(ctx, "not yet: "+reason)
	}
	p.last = reason
}

// CheckResult turns a look at a service into the Result of Check: OK if nothing
// differs, else Differs with the reason. An error is a difference too: before the
// service runs, or its client is installed, there is nothing to compare with, and
// Apply returns the error if it persists.
func CheckResult(ctx context.Context, differs string, err error) (Result, error) {
	switch {
	case err != nil && ctx.Err() != nil:
		return Result{}, context.Cause(ctx)
	case err != nil:
		return Result{State: Differs, Reason: "cannot look yet: " + err.Error()}, nil
	case differs != "":
		return Result{State: Differs, Reason: differs}, nil
	}
	return Result{State: OK}, nil
}

// NoUndo is embedded by kinds that have nothing to undo: they change nothing, or
// only objects in etcd, which reset removes as a whole.
type NoUndo struct{}

func (NoUndo) Undo(context.Context, *Env, json.RawMessage) error { return nil }

func (NoUndo) undoesNothing() {}

// UndoesNothing reports whether the step embeds NoUndo.
func UndoesNothing(s Step) bool {
	_, ok := s.(interface{ undoesNothing() })
	return ok
}
