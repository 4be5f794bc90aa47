package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// Options configure a Client. The zero value is ready for use.
type Options struct {
	// Rewrites replace upstream addresses; the longest From that matches is
	// used. From is a URL prefix, a registry host with an optional path
	// ("registry.k8s.io"), or "apt:<archive>". Digests are not affected.
	Rewrites []manifests.Rewrite
	// UserAgent is sent with every request; empty means "offk8s".
	UserAgent string
	// Attempts is how often a download is tried before its error is final; zero
	// means 5. An attempt that received at least one new byte does not count, up
	// to ten times as many.
	Attempts int
	// IdleTimeout ends an attempt if less than 64 KiB arrive within it; zero means
	// a minute.
	IdleTimeout time.Duration
	// LimitRate bounds the bytes per second of all downloads together; zero means
	// no limit.
	LimitRate int64
	// AllowPrivate follows redirects to loopback, link-local and private addresses,
	// which are refused otherwise unless a rewrite names the host.
	AllowPrivate bool
	// Sleep waits between attempts; nil means a timer that ends with the context.
	Sleep func(ctx context.Context, d time.Duration) error
	// Transport sends the requests, for tests; nil means a transport with the
	// proxies of the environment.
	Transport http.RoundTripper
	// Keychain has the credentials for registries; nil means those of docker and
	// podman.
	Keychain authn.Keychain
	// Waiting is called before a download is tried again; nil means not at all.
	Waiting func(Wait)
	// Log receives one line per retry; nil discards them.
	Log *slog.Logger
}

// Wait describes the pause before another attempt.
type Wait struct {
	What     string // URL or image
	Attempt  int    // the attempt that failed, from 1
	Attempts int    // how many there are
	For      time.Duration
	Err      error
}

// Client is the HTTP layer of all fetchers. It is safe for concurrent use.
type Client struct {
	o        Options
	rewrites []manifests.Rewrite // longest From first
	http     *http.Client
	tr       http.RoundTripper
	common   *common
}

// common is the state that a Client shares with the copies that With makes.
type common struct {
	warned   sync.Map // credential helpers
	reached  sync.Map // addresses of hosts that answered
	throttle throttle
}

const (
	defaultAttempts    = 5
	defaultIdleTimeout = time.Minute
	headerTimeout      = time.Minute
	maxRedirects       = 10
	maxBackoff         = 30 * time.Second
	maxRetryAfter      = 10 * time.Minute // a longer pause ends the attempts
)

// NewClient returns a client after checking the rewrites.
func NewClient(o Options) (*Client, error) {
	return newClient(o, &common{throttle: throttle{rate: o.LimitRate}})
}

func newClient(o Options, shared *common) (*Client, error) {
	if o.UserAgent == "" {
		o.UserAgent = "offk8s"
	}
	if o.Attempts == 0 {
		o.Attempts = defaultAttempts
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = defaultIdleTimeout
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	rewrites, err := sortRewrites(o.Rewrites)
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, rewrites: rewrites, common: shared}
	named := map[string]bool{}
	for _, r := range rewrites {
		_, rest, found := strings.Cut(r.To, "://")
		if !found {
			rest = r.To
		}
		named[host(rest)] = true
	}
	c.tr = &policyTransport{next: o.Transport, userAgent: o.UserAgent, idle: o.IdleTimeout, private: o.AllowPrivate, named: named, throttle: &shared.throttle}
	if o.Transport == nil {
		c.tr.(*policyTransport).next = newTransport(o.IdleTimeout)
	}
	// The limit of redirects is in the transport, which the registry client uses
	// as well.
	c.http = &http.Client{Transport: c.tr, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	return c, nil
}

// With returns a copy of c with additional rewrites. If two rewrites have the
// same From, the one of c is used.
func (c *Client) With(more []manifests.Rewrite) (*Client, error) {
	o := c.o
	o.Rewrites = append(append([]manifests.Rewrite(nil), c.o.Rewrites...), more...)
	return newClient(o, c.common)
}

// StatusError means that a server answered with an unexpected status.
type StatusError struct {
	URL  string
	Code int
	// RetryAfter is how long the server wants to be left alone; 0 if it does not
	// say.
	RetryAfter time.Duration
}

func statusError(target string, resp *http.Response) *StatusError {
	return &StatusError{URL: target, Code: resp.StatusCode, RetryAfter: retryAfter(resp)}
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", e.URL, e.Code, http.StatusText(e.Code)) + tooLong(e.RetryAfter)
}

// Is matches fs.ErrNotExist for 404, 410 and 403, for the readers of
// repositories. Object stores answer 403 if a file does not exist, and an
// attacker who can forge one answer can forge the other.
func (e *StatusError) Is(target error) bool {
	return target == fs.ErrNotExist &&
		(e.Code == http.StatusNotFound || e.Code == http.StatusGone || e.Code == http.StatusForbidden)
}

// temporary reports whether a later request may succeed.
func (e *StatusError) temporary() bool {
	return e.Code >= 500 || e.Code == http.StatusTooManyRequests || e.Code == http.StatusRequestTimeout
}

// ErrTooLarge means that a body is longer than its limit.
var ErrTooLarge = reader.ErrTooLarge

// Get returns the body at rawURL after reading all of it. If the body is longer
// than limit bytes, the error is ErrTooLarge; for a 404 or 403 it is
// fs.ErrNotExist. Get is for metadata; the content of a bundle is downloaded by
// a Fetcher.
func (c *Client) Get(ctx context.Context, rawURL string, limit int64) (io.ReadCloser, error) {
	target, err := c.URL(rawURL)
	if err != nil {
		return nil, err
	}
	var body []byte
	err = c.retry(ctx, rawURL, func() (bool, error) {
		body, err = c.getOnce(ctx, target, limit)
		return false, err
	})
	if err != nil {
		return nil, named(err, target)
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

// named adds the address to an error that lacks it.
func named(err error, target string) error {
	var request *url.Error
	var status *StatusError
	if errors.As(err, &request) || errors.As(err, &status) {
		return err
	}
	return fmt.Errorf("get %q: %w", target, err)
}

func (c *Client) getOnce(ctx context.Context, target string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, permanent{err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(target, resp)
	}
	body, err := io.ReadAll(reader.Limit(resp.Body, limit))
	if errors.Is(err, ErrTooLarge) {
		return nil, permanent{err}
	}
	return body, err
}

// permanent marks an error that a retry cannot fix.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry calls f until it succeeds, its error is permanent, or all attempts are
// used. An attempt counts only if f reports no progress, within limits.
func (c *Client) retry(ctx context.Context, what string, f func() (progressed bool, err error)) error {
	failures := 0
	for try := 1; ; try++ {
		progressed, err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if progressed {
			failures = 0
		}
		failures++
		if !retriable(err) || failures >= 2 && hardlyHeals(err, failures == try) || failures >= c.o.Attempts || try >= 10*c.o.Attempts {
			return err
		}
		wait := pause(err, failures)
		if c.o.Waiting != nil {
			c.o.Waiting(Wait{What: what, Attempt: failures, Attempts: c.o.Attempts, For: wait, Err: err})
		}
		c.o.Log.Debug("retry", "what", what, "attempt", try, "wait", wait, "err", err)
		if err := c.o.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func retriable(err error) bool {
	var p permanent
	if errors.As(err, &p) || errors.Is(err, errPolicy) || errors.Is(err, ErrTooLarge) ||
		strings.Contains(err.Error(), "response headers exceeded") { // net/http has no type for it
		return false
	}
	if asked := askedPause(err); asked > maxRetryAfter {
		return false
	}
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.temporary()
	}
	return true
}

// hardlyHeals reports whether one retry is enough: a name that does not exist, a
// certificate that does not fit, and a port that nobody listens on at first
// contact.
func hardlyHeals(err error, firstContact bool) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	if ok && dns.IsNotFound {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	return firstContact && errors.Is(err, syscall.ECONNREFUSED)
}

// pause returns how long to wait after err: as long as the server asked for, but no less
// than the usual.
func pause(err error, failures int) time.Duration {
	return max(askedPause(err), backoff(failures))
}

func backoff(failures int) time.Duration {
	return min(time.Second<<min(failures-1, 10), maxBackoff)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// host returns the part of an image reference or URL before the first slash.
func host(s string) string {
	h, _, _ := strings.Cut(s, "/")
	return h
}
