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
//	refuse --own URL --expect TEXT [--timeout 60s] URL...
//	                                                  until none answers, and the own one does
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
	own := flags.String("own", "", "URL that must answer while the others do not")
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
	case "refuse":
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		return refuseAll(ctx, *own, flags.Args(), *expect, stdout)
	}
	return fmt.Errorf("smoke-server: verb %q, want serve, get or refuse", verb)
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

// refusals is the number of times in a row that a URL must not answer.
const refusals = 3

// refuseAll waits until no URL answers any more, several times in a row. The own URL must
// answer with expect before and after, so that it is not the network that is down.
func refuseAll(ctx context.Context, own string, urls []string, expect string, stdout io.Writer) error {
	if len(urls) == 0 || own == "" {
		return errors.New("smoke-server refuse: no URL, or no own one")
	}
	if err := getAll(ctx, []string{own}, expect, stdout); err != nil {
		return err
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, u := range urls {
		for left := refusals; left > 0; left-- {
			body, err := once(ctx, client, u)
			if ctx.Err() != nil {
				return fmt.Errorf("refuse %s: it answers: %w", u, context.Cause(ctx))
			}
			if err == nil {
				fmt.Fprintf(stdout, "%s answers %s\n", u, strings.Join(strings.Fields(body), " "))
				left = refusals + 1
				pause(ctx)
			}
		}
		fmt.Fprintf(stdout, "%s does not answer\n", u)
	}
	return getAll(ctx, []string{own}, expect, stdout)
}

// pause waits between two requests.
func pause(ctx context.Context) {
	t := time.NewTimer(500 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
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
		if pause(ctx); ctx.Err() != nil {
			return fmt.Errorf("get %s: %w", url, errors.Join(last, context.Cause(ctx)))
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
