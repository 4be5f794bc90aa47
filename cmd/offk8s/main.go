// Command offk8s packs Kubernetes for places without internet, serves the
// bundle there and installs clusters from it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run is main without the exit, so that test scripts can call it in process.
func run() int {
	ctx, cause := signalContext(context.Background())
	app := newApp(os.Stdin, os.Stdout, os.Stderr)
	err := app.command().ExecuteContext(ctx)
	if sig := cause(); sig != nil && err != nil { // serve ends in order, without an error
		name := map[os.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[sig]
		app.notef("stopped by %s; run the same command again to go on", name)
		return 128 + int(sig.(syscall.Signal))
	}
	return app.report(err)
}

// signalContext is cancelled by the first SIGINT or SIGTERM, so that the work
// under way ends orderly; a second signal ends the process at once. The
// returned function says which signal it was, or nil.
func signalContext(parent context.Context) (context.Context, func() os.Signal) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	caught := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		sig := <-signals
		caught <- sig
		cancel()
		<-signals
		os.Exit(128 + int(sig.(syscall.Signal)))
	}()
	return ctx, func() os.Signal {
		select {
		case sig := <-caught:
			return sig
		default:
			return nil
		}
	}
}
