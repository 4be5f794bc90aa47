package step

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"
)

// DefaultTimeout is the time limit of a program, if Cmd.Timeout is 0.
const DefaultTimeout = 5 * time.Minute

// slowTimeout is for programs whose work grows with the host or the bundle: swap that is
// read back, trees of files, images.
const slowTimeout = 30 * time.Minute

// Limited is a Runner that gives every program of another one its time limit, and lets
// those finish that should (Cmd.Finish).
type Limited struct {
	Runner
	Log *slog.Logger
}

// Run starts no program after the end of ctx. A program that reaches its time limit is a
// *TimeoutError.
func (l Limited) Run(ctx context.Context, c Cmd) (Output, error) {
	if err := checkArgv("argv", c.Argv); err != nil {
		return Output{}, err
	}
	if ctx.Err() != nil {
		return Output{}, fmt.Errorf("%q: %w", c.Argv[0], context.Cause(ctx))
	}
	late := &TimeoutError{Program: c.Argv[0], Limit: cmp.Or(c.Timeout, DefaultTimeout)}
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer time.AfterFunc(late.Limit, func() { stop(late) }).Stop()
	defer context.AfterFunc(ctx, func() {
		if c.Finish > 0 {
			l.Log.Warn(fmt.Sprintf("waiting for %q to finish, at most %s", c.Argv[0], c.Finish))
			select {
			case <-run.Done():
			case <-time.After(c.Finish):
			}
		}
		stop(context.Cause(ctx))
	})()
	out, err := l.Runner.Run(run, c)
	if err != nil && context.Cause(run) == error(late) {
		late.Output = said(out)
		return out, late
	}
	return out, err
}

// TimeoutError reports that a program was ended at its time limit.
type TimeoutError struct {
	Program string
	Limit   time.Duration
	// Output is as ExitError.Stderr.
	Output string
}

func (e *TimeoutError) Error() string {
	s := fmt.Sprintf("%q: not finished after %s", e.Program, e.Limit)
	if e.Output != "" {
		s += ", its output ends: " + tail(e.Output, 800)
	}
	return s
}
