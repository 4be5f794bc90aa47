package agent

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
	"sync/atomic"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

// mirrors sends requests to the first of several mirrors that answers.
type mirrors struct {
	client *http.Client
	bases  []*url.URL
	// good is the index in bases of the mirror that answered last.
	good *atomic.Int64
}

// Use makes e the mirrors of all further requests. The error is ErrRequest.
func (m *mirrors) Use(e Endpoint) error {
	m.bases, m.good = nil, new(atomic.Int64)
	for _, raw := range e.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			return fmt.Errorf("%w: mirror %q: not a URL", ErrRequest, raw)
		}
		m.bases = append(m.bases, u)
	}
	if len(m.bases) == 0 {
		return fmt.Errorf("%w: no mirror", ErrRequest)
	}
	var err error
	m.client, err = newClient(e)
	return err
}

// newClient returns a client that trusts e.CAPEM only, or the system's authorities if
// it is empty. It ignores proxies of the environment, which could read and redirect
// the requests.
func newClient(e Endpoint) (*http.Client, error) {
	var pool *x509.CertPool
	if e.CAPEM != "" {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(e.CAPEM)) {
			return nil, fmt.Errorf("%w: mirror CA: no certificate in it", ErrRequest)
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			MaxIdleConnsPerHost:   MirrorConnections,
			DisableCompression:    true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the mirror sends no redirects")
		},
	}, nil
}

// send sends a request to the mirror that answered last, and to the others in order if it
// does not answer with status 200. If the body ends early, it goes on with that of another
// mirror. The caller checks the digest of the whole.
func (m *mirrors) send(ctx context.Context, method, path string, pace reader.Pace) (io.ReadCloser, error) {
	b := &body{path: path, left: len(m.bases) - 1}
	at := int(m.good.Load())
	b.open = func() (err error) {
		b.from, at, err = m.first(ctx, method, path, pace, at, b.n)
		at++ // the one after it is next
		return err
	}
	b.again = func() bool { return ctx.Err() == nil }
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// first returns the body of the first mirror, from start on, that has more than skip bytes
// of it, without them, and the index of that mirror.
func (m *mirrors) first(ctx context.Context, method, path string, pace reader.Pace, start int, skip int64) (io.ReadCloser, int, error) {
	var errs []error
	for i := range m.bases {
		at := (start + i) % len(m.bases)
		r, err := m.sendTo(ctx, m.bases[at], method, path, pace)
		if err == nil && skip > 0 {
			if _, err = io.CopyN(io.Discard, r, skip); err != nil {
				err = errors.Join(err, r.Close())
			}
		}
		if err == nil {
			m.good.Store(int64(at))
			return r, at, nil
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return nil, start, errors.Join(errs...)
}

func (m *mirrors) sendTo(ctx context.Context, base *url.URL, method, path string, pace reader.Pace) (io.ReadCloser, error) {
	rel, err := url.Parse(path)
	if err != nil {
		return nil, err
	}
	u := *base
	u.Path, u.RawQuery = strings.TrimSuffix(u.Path, "/")+rel.Path, rel.RawQuery
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("mirror: %w", ExplainTLS(err))
	}
	if resp.StatusCode != http.StatusOK {
		defer cancel(nil)
		if resp.StatusCode == http.StatusUnauthorized {
			return nil, errors.Join(fmt.Errorf("mirror: %s: %w: it wants a password", base, ErrAccess), resp.Body.Close())
		}
		return nil, errors.Join(fmt.Errorf("mirror: %s: %s", u.String(), resp.Status), resp.Body.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{reader.Paced(resp.Body, pace, cancel), closer(func() error {
		defer cancel(nil)
		return resp.Body.Close()
	})}, nil
}

type closer func() error

func (c closer) Close() error { return c() }

// body is the body of a response, from one mirror after the other. Its errors name the path.
type body struct {
	path  string
	from  io.ReadCloser
	open  func() error // sets from to the rest of the body on another mirror
	again func() bool  // reports whether the request is still wanted
	left  int          // how often it may be opened again
	n     int64        // bytes read so far
}

func (b *body) Close() error { return b.from.Close() }

func (b *body) Read(p []byte) (int, error) {
	for {
		n, err := b.from.Read(p)
		b.n += int64(n)
		switch {
		case err == nil, errors.Is(err, io.EOF):
			return n, err
		case b.left == 0 || !b.again():
			return n, fmt.Errorf("mirror: %q: %w", b.path, err)
		}
		b.left--
		failed := b.from
		if nextErr := b.open(); nextErr != nil {
			b.from, b.left = failed, 0
			return n, fmt.Errorf("mirror: %q: %w", b.path, errors.Join(err, nextErr))
		}
		if _ = failed.Close(); n > 0 {
			return n, nil
		}
	}
}

// ErrAccess means that the mirror answers only clients with a password or a certificate.
// Hosts have none.
var ErrAccess = errors.New("the mirror does not answer every host")

// ExplainTLS adds the reason to an error of a TLS handshake. For an expired or not yet
// valid certificate it is often the host's clock: that of a new machine is often wrong.
func ExplainTLS(err error) error {
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return fmt.Errorf("%w; this host's clock says %s, is that right?", err, time.Now().UTC().Format(time.RFC3339))
	}
	if err != nil && strings.HasSuffix(err.Error(), "remote error: tls: certificate required") { // crypto/tls has no value for it
		return fmt.Errorf("%w: it wants a client certificate: %w", ErrAccess, err)
	}
	return err
}
