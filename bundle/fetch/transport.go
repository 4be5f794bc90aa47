package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

// errPolicy marks requests that are refused and not retried.
var errPolicy = errors.New("refused")

// newTransport returns a transport for requests whose bodies may pause for idle.
func newTransport(idle time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
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

// pace is how slowly a body may arrive: a link of a few kilobytes a second is
// enough, a byte a second is not.
func pace(idle time.Duration) reader.Pace {
	return reader.Pace{Bytes: minWindow, Within: idle, Total: maxBodyTime}
}

const (
	minWindow   = 64 << 10 // bytes within Options.IdleTimeout
	maxBodyTime = 24 * time.Hour
)

// policyTransport applies the rules for every request of every client.
type policyTransport struct {
	next      http.RoundTripper
	userAgent string
	idle      time.Duration
	private   bool            // redirects to private addresses are followed
	named     map[string]bool // hosts, with ports, of the rewrites
	throttle  *throttle
}

// RoundTrip refuses redirects from https to http and into private networks, and
// ends a body that is too slow.
func (t *policyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkHop(req); err != nil {
		return nil, err
	}
	parent := req.Context()
	if t.elsewhere(req) {
		if err := checkPublic(req.URL.Hostname()); err != nil {
			return nil, err
		}
		parent = context.WithValue(parent, publicOnly{}, hostPort(req.URL))
	}
	ctx, cancel := context.WithCancelCause(parent)
	req = req.Clone(ctx)
	req.Header.Set("User-Agent", t.userAgent)
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = t.throttle.limit(parent, &pacedBody{reader.Paced(resp.Body, pace(t.idle), cancel), resp.Body, cancel})
	return resp, nil
}

// elsewhere reports whether an upstream, not the user, chose the host of req.
func (t *policyTransport) elsewhere(req *http.Request) bool {
	if t.private || t.named[req.URL.Host] || req.Response == nil && req.Context().Value(realmHost{}) == nil {
		return false
	}
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	return first.URL.Host != req.URL.Host || req.Context().Value(realmHost{}) != nil
}

// Keys of contexts.
type (
	publicOnly struct{} // the host and port that must not have a private address
	realmHost  struct{} // set if a registry chose the host, as that of a token service
)

func hostPort(u *url.URL) string {
	defaults := map[string]string{"http": "80", "https": "443"}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), defaults[u.Scheme]))
}

// dialTimeout is how long a host may take to accept a connection. The kernel asks again
// after 1, 3 and 7 seconds; a host whose firewall drops that is soon named.
const dialTimeout = 10 * time.Second

// dial refuses a private address for a host that an upstream chose. It looks at
// the address that is dialed: the answer of another look-up may differ. A proxy
// is not such a host.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	if ctx.Value(publicOnly{}) == address {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return err
			}
			return checkPublic(host)
		}
	}
	return d.DialContext(ctx, network, address)
}

// ErrPrivate means that an upstream redirects into the network of this machine.
var ErrPrivate = errors.New("upstream redirects to a private address")

var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

// checkPublic returns an error if host is a private address. A name is no address.
func checkPublic(host string) error {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	ip = ip.Unmap()
	if ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() || sharedRange.Contains(ip) {
		return fmt.Errorf("%w: %w %s", errPolicy, ErrPrivate, ip)
	}
	return nil
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
		if req.URL.Scheme != "https" && req.URL.Scheme != "http" {
			return fmt.Errorf("%w: redirect from %q to the scheme %q", errPolicy, from.Request.URL.Redacted(), req.URL.Scheme)
		}
		if from.Request.URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("%w: redirect from %q to %q leaves TLS", errPolicy, from.Request.URL.Redacted(), req.URL.Redacted())
		}
	}
	return nil
}

// pacedBody is a body whose request ends when it is too slow.
type pacedBody struct {
	io.Reader
	body   io.Closer
	cancel context.CancelCauseFunc
}

func (b *pacedBody) Close() error {
	err := b.body.Close()
	b.cancel(nil)
	return err
}
