package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// errPolicy marks requests that are refused and not retried.
var errPolicy = errors.New("refused")

// newTransport returns a transport for requests whose bodies may pause for idle.
func newTransport(idle time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   30 * time.Second,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
		// A dead HTTP/2 connection must be closed before a download is retried,
		// or the retry would use it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: idle / 4, PingTimeout: idle / 4},
		// Digests are of the bytes that are served; a transparent gunzip would
		// hash others.
		DisableCompression: true,
	}
}

// policyTransport applies the rules for every request of every client.
type policyTransport struct {
	next      http.RoundTripper
	userAgent string
	idle      time.Duration
}

// RoundTrip refuses a redirect from https to http and ends a body that pauses
// for too long.
func (t *policyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkHop(req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	req = req.Clone(ctx)
	req.Header.Set("User-Agent", t.userAgent)
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = newIdleBody(resp.Body, t.idle, cancel)
	return resp, nil
}

// checkHop is not in CheckRedirect because the registry client has its own
// http.Client. http.Client sets Response on a request that follows a redirect,
// which gives a chain to the first request.
func checkHop(req *http.Request) error {
	hops := 0
	for from := req.Response; from != nil && from.Request != nil; from = from.Request.Response {
		if hops++; hops > maxRedirects {
			return fmt.Errorf("%w: more than %d redirects", errPolicy, maxRedirects)
		}
		if from.Request.URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("%w: redirect from %q to %q leaves TLS", errPolicy, from.Request.URL.Redacted(), req.URL.Redacted())
		}
	}
	return nil
}

// idleBody cancels its request if no byte was received for a while. The size
// limits bound bodies that are merely slow.
type idleBody struct {
	io.ReadCloser
	idle   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func newIdleBody(rc io.ReadCloser, idle time.Duration, cancel context.CancelCauseFunc) *idleBody {
	b := &idleBody{ReadCloser: rc, idle: idle, cancel: cancel}
	b.timer = time.AfterFunc(idle, func() {
		cancel(fmt.Errorf("no data for %s", idle))
	})
	return b
}

func (b *idleBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.timer.Reset(b.idle)
	}
	return n, err
}

func (b *idleBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
