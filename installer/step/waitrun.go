package step

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody is how much of an answer is looked at.
const maxBody = 1 << 20

// Check tries once.
func (w *Wait) Check(ctx context.Context, env *Env) (Result, error) {
	if err := w.try(ctx, env); err != nil {
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		return Result{State: Differs, Reason: "not yet: " + err.Error()}, nil
	}
	return Result{State: Verified}, nil
}

// Apply tries again every Interval until Timeout, and tells the last error then.
func (w *Wait) Apply(ctx context.Context, env *Env) (Result, error) {
	start := time.Now()
	limit := time.NewTimer(w.timeout())
	defer limit.Stop()
	for {
		// An attempt has its own bound; the limit decides whether there is another,
		// so that the last error is always one of the other side.
		last := w.try(ctx, env)
		if last == nil {
			return Result{State: Verified, Reason: fmt.Sprintf("after %s", time.Since(start).Round(100*time.Millisecond))}, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		case <-limit.C:
			return Result{}, fmt.Errorf("%s: not after %s, last: %w", w.Describe(), w.timeout(), last)
		case <-time.After(w.interval()):
		}
	}
}

// Undo has nothing to undo.
func (w *Wait) Undo(context.Context, *Env, json.RawMessage) error { return nil }

func (w *Wait) try(ctx context.Context, env *Env) error {
	// One attempt that hangs must not use up all the time.
	ctx, cancel := context.WithTimeout(ctx, max(10*time.Second, w.interval()))
	defer cancel()
	if len(w.Argv) > 0 {
		out, err := env.Run.Run(ctx, Cmd{Argv: w.Argv})
		if err != nil {
			return err
		}
		return w.expect(out.Stdout)
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return err
	}
	if u.Scheme == "tcp" {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return err
		}
		return c.Close()
	}
	return w.get(ctx, env)
}

func (w *Wait) get(ctx context.Context, env *Env) error {
	conf, err := w.tls(env)
	if err != nil {
		return err
	}
	// No Proxy: what is waited for is always near.
	tr := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL, nil)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %s: %s", resp.Status, tail(strings.TrimSpace(string(body)), 300))
	}
	return w.expect(body)
}

func (w *Wait) expect(b []byte) error {
	if !strings.Contains(string(b), w.Expect) {
		return fmt.Errorf("answer lacks %q: %s", w.Expect, tail(strings.TrimSpace(string(b)), 300))
	}
	return nil
}

// tls trusts CAFile only.
func (w *Wait) tls(env *Env) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: w.ServerName, RootCAs: x509.NewCertPool()}
	if w.CAFile != "" {
		pem, err := env.ReadFile(w.CAFile)
		if err != nil {
			return nil, err
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("file %q: no certificate in it", w.CAFile)
		}
	}
	if w.CertFile == "" {
		return conf, nil
	}
	pair, err := tls.LoadX509KeyPair(env.Path(w.CertFile), env.Path(w.KeyFile))
	if err != nil {
		return nil, err
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, nil
}
