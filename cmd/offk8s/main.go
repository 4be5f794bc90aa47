// Command offk8s packs Kubernetes for networks without internet access, serves
// the bundle there, and installs clusters from it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/offk8s/offk8s/cmd/offk8s/firstgc" // the first collection comes after the start
)

func main() { os.Exit(run()) }

// run is main without os.Exit, so that test scripts can call it.
func run() int {
	ctx, cause := signalContext(context.Background())
	out := &checkedOutput{file: os.Stdout}
	app := newApp(os.Stdin, out, os.Stderr)
	err := app.command().ExecuteContext(ctx)
	if err == nil {
		err = out.failed()
	}
	if sig := cause(); sig != nil && err != nil { // serve stops without an error
		name := map[os.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[sig]
		app.notef("stopped by %s; run the same command again to continue", name)
		return 128 + int(sig.(syscall.Signal))
	}
	return app.report(err)
}

// signalContext returns a context that the first SIGINT or SIGTERM cancels, so
// that work in progress can stop in order. A second signal exits at once. The
// returned function returns the signal, or nil if there was none.
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
