package step

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Wait waits until a program succeeds or a URL answers, and changes nothing.
type Wait struct {
	NoUndo
	// Argv runs until it exits 0. Or URL is requested until it answers 200
	// ("https://127.0.0.1:6443/readyz") or accepts a connection ("tcp://127.0.0.1:2379").
	Argv []string `json:"argv,omitempty"`
	URL  string   `json:"url,omitempty"`
	// Or are more URLs of the same kind; one that answers is enough.
	Or []string `json:"or,omitempty"`
	// CAFile, CertFile and KeyFile are paths on the host. https requires a CAFile,
	// since the system's trust store is never used.
	CAFile   string `json:"caFile,omitempty"`
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
	// ServerName replaces the URL's host when the certificate is verified.
	ServerName string `json:"serverName,omitempty"`
	// Expect must occur in the output or the body.
	Expect string `json:"expect,omitempty"`
	// Timeout defaults to 2 minutes, Interval to 1 second.
	Timeout  Duration `json:"timeout,omitempty"`
	Interval Duration `json:"interval,omitempty"`
	// Text describes the condition, "etcd member healthy".
	Text string `json:"text,omitempty"`
}

func (w *Wait) Kind() string { return "wait" }

func (w *Wait) Observes() bool { return true }

func (w *Wait) Describe() string {
	switch {
	case w.Text != "":
		return "wait: " + w.Text
	case w.URL != "":
		return "wait for " + w.URL
	}
	return "wait for " + strings.Join(w.Argv, " ")
}

func (w *Wait) Validate() error {
	var errs []error
	if (len(w.Argv) > 0) == (w.URL != "") {
		errs = append(errs, errors.New("want one of argv and url"))
	}
	if len(w.Argv) > 0 {
		errs = append(errs, checkArgv("argv", w.Argv))
	}
	if len(w.Or) > 0 && w.URL == "" {
		errs = append(errs, errors.New("or: want url too"))
	}
	for _, u := range w.urls() {
		errs = append(errs, w.checkURL(u))
	}
	if w.Timeout < 0 || w.Interval < 0 {
		errs = append(errs, errors.New("timeout and interval: negative"))
	}
	for _, p := range []string{w.CAFile, w.CertFile, w.KeyFile} {
		if p != "" {
			errs = append(errs, checkPath("file", p))
		}
	}
	if (w.CertFile == "") != (w.KeyFile == "") {
		errs = append(errs, errors.New("certFile and keyFile: want both or none"))
	}
	return errors.Join(errs...)
}

// urls returns the URLs, of which one has to answer.
func (w *Wait) urls() []string {
	if w.URL == "" {
		return nil
	}
	return append([]string{w.URL}, w.Or...)
}

func (w *Wait) checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	switch {
	case u.Host == "":
		return fmt.Errorf("url %q: no host", raw)
	case u.Scheme == "https" && w.CAFile == "":
		return fmt.Errorf("url %q: want caFile", raw)
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "tcp":
		return fmt.Errorf("url %q: want https, http or tcp", raw)
	}
	return nil
}

func (w *Wait) timeout() time.Duration {
	if w.Timeout == 0 {
		return 2 * time.Minute
	}
	return time.Duration(w.Timeout)
}

func (w *Wait) interval() time.Duration {
	if w.Interval == 0 {
		return time.Second
	}
	return time.Duration(w.Interval)
}

// maxBody is the limit on a response in bytes; the rest is ignored.
const maxBody = 1 << 20

func (w *Wait) Check(ctx context.Context, env *Env) (Result, error) {
	if err := w.try(ctx, env); err != nil {
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		return Result{State: Differs, Reason: "not yet: " + err.Error()}, nil
	}
	return Result{State: Verified}, nil
}

func (w *Wait) Apply(ctx context.Context, env *Env) (Result, error) {
	start := time.Now()
	timeout := env.Awaited.timeout(w.timeout())
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	wait := patience{log: env.Log, awaited: env.Awaited}
	for {
		// Each attempt has a separate timeout and limit only prevents the next one, so
		// that the last error always comes from the other side.
		last := w.try(ctx, env)
		if last == nil {
			return Result{State: Verified, Reason: fmt.Sprintf("after %s", time.Since(start).Round(100*time.Millisecond))}, nil
		}
		wait.longer(ctx, env.tail(last.Error(), 300))
		select {
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		case <-limit.C:
			return Result{}, fmt.Errorf("%s: not within %s (last: %w)", w.Describe(), timeout, last)
		case <-time.After(w.interval()):
		}
	}
}

func (w *Wait) try(ctx context.Context, env *Env) error {
	if len(w.Argv) > 0 {
		ctx, cancel := w.attempt(ctx)
		defer cancel()
		out, err := env.Run.Run(ctx, Cmd{Argv: w.Argv})
		if err != nil {
			return err
		}
		return w.expect(env, out.Stdout)
	}
	var errs []error
	for _, u := range w.urls() {
		err := w.tryURL(ctx, env, u)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// attempt bounds an attempt: one that hangs must not use up all the time.
func (w *Wait) attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, max(10*time.Second, w.interval()))
}

func (w *Wait) tryURL(ctx context.Context, env *Env, raw string) error {
	ctx, cancel := w.attempt(ctx)
	defer cancel()
	u, err := url.Parse(raw)
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
	return w.get(ctx, env, raw)
}

func (w *Wait) get(ctx context.Context, env *Env, raw string) error {
	tr := env.HTTP
	if tr == nil {
		conf, err := w.tls(env)
		if err != nil {
			return err
		}
		// No Proxy: the other side is this host, a neighbour or the mirror.
		tr = &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, raw, nil)
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
		return fmt.Errorf("answer %s: %s", resp.Status, env.tail(string(body), 300))
	}
	return w.expect(env, body)
}

func (w *Wait) expect(env *Env, b []byte) error {
	if !strings.Contains(string(b), w.Expect) {
		return fmt.Errorf("answer lacks %q: %s", w.Expect, env.tail(string(b), 300))
	}
	return nil
}

// tls returns a configuration that trusts CAFile only.
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
