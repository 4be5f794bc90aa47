// Package smokeserver is the program in the pods of the smoke test: a web server that
// reports its pod, and a client that requests URLs until the response is as expected.
// cmd/offk8s runs it as the hidden command smoke-server.
package smokeserver

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Run runs one of
//
//	serve [--listen :8080]                            until ctx ends
//	get --expect TEXT [--timeout 60s] URL...          once each, until TEXT is in the answer
//
// args follow the command's name; the default is serve. The client writes the responses
// to stdout.
func Run(ctx context.Context, args []string, stdout io.Writer) error {
	verb := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	listen := flags.String("listen", ":8080", "address to listen on")
	expect := flags.String("expect", "", "text that every response must contain")
	timeout := flags.Duration("timeout", time.Minute, "time limit for all responses")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("smoke-server %s: %w", verb, err)
	}
	switch verb {
	case "serve":
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			return fmt.Errorf("smoke-server: %w", err)
		}
		return serve(ctx, l, stdout)
	case "get":
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		return getAll(ctx, flags.Args(), *expect, stdout)
	}
	return fmt.Errorf("smoke-server: verb %q, want serve or get", verb)
}

// Handler returns a handler that responds with the pod's hostname, namespace and node,
// one per line.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		name := os.Getenv("POD_NAME")
		if name == "" {
			name, _ = os.Hostname()
		}
		fmt.Fprintf(w, "hostname=%s\nnamespace=%s\nnode=%s\n", name, os.Getenv("POD_NAMESPACE"), os.Getenv("NODE_NAME"))
	})
	return mux
}

func serve(ctx context.Context, l net.Listener, stdout io.Writer) error {
	srv := &http.Server{Handler: Handler(), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	fmt.Fprintf(stdout, "listening on %s\n", l.Addr())
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("smoke-server: %w", err)
	}
	return nil
}

// getAll requests every URL until the response contains expect. Each request has a new
// connection, so that a Service may choose another pod.
func getAll(ctx context.Context, urls []string, expect string, stdout io.Writer) error {
	if len(urls) == 0 {
		return errors.New("smoke-server get: no URL")
	}
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true}, // and no proxy, since these are cluster addresses
	}
	for _, u := range urls {
		if err := get(ctx, client, u, expect, stdout); err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url, expect string, stdout io.Writer) error {
	var last error
	for {
		body, err := once(ctx, client, url)
		if err == nil && strings.Contains(body, expect) {
			fmt.Fprintf(stdout, "%s: %s\n", url, strings.Join(strings.Fields(body), " "))
			return nil
		}
		if err == nil {
			err = fmt.Errorf("answer %q, want %q in it", strings.Join(strings.Fields(body), " "), expect)
		}
		if ctx.Err() == nil {
			last = err
		}
		t := time.NewTimer(500 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("get %s: %w", url, errors.Join(last, context.Cause(ctx)))
		case <-t.C:
		}
	}
}

func once(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %s", resp.Status)
	}
	return string(b), nil
}
