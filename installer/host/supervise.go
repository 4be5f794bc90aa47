package host

import (
	"context"
	"io"
	"time"
)

// supervise feeds stdin to a running program and waits for its end. When ctx
// ends, its stdin is closed and it has grace to end by itself before kill.
// It does not wait for stdin: a reader may have nothing to say any more and
// still not be at its end.
func supervise(ctx context.Context, in io.WriteCloser, stdin io.Reader, wait func() error, kill func()) error {
	go func() {
		if stdin != nil {
			// An error here is a program that does not read all of it; its exit code counts.
			_, _ = io.Copy(in, stdin)
		}
		_ = in.Close()
	}()
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	_ = in.Close()
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		kill()
		<-ended
	}
	return context.Cause(ctx)
}
