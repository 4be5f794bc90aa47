package host

import (
	"context"
	"io"
	"time"
)

// supervise copies stdin to a running program and waits for the program's end. When ctx
// ends, it closes the program's stdin and kills it after grace. It does not wait for
// stdin, whose reader may block forever.
func supervise(ctx context.Context, in io.WriteCloser, stdin io.Reader, wait func() error, kill func()) error {
	go func() {
		if stdin != nil {
			// An error means that the program did not read everything; its exit code counts.
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
