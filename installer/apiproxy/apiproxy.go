// Package apiproxy is the service that balances a node's connections to the Kubernetes
// API, offk8s-apiproxy.service, if loadBalancer.mode is node-local. Kubelet and kube-proxy
// dial it on the loopback address; it forwards the bytes to an API server that is ready.
// TLS is between them and the API server, so that the proxy sees nothing.
//
//	configuration ─┐
//	kept file ─────┼──▶ servers ──/readyz──▶ ready ones ◀── connections of the node
//	API endpoints ─┘
//
// The servers are those of the configuration and those that the API itself names, in the
// endpoints of default/kubernetes. The last answer is kept in a file, so that a restart
// works if none of the configured servers is left. cmd/offk8s runs the service as the
// hidden command apiproxy.
package apiproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Config is the content of the configuration file, JSON.
type Config struct {
	// Listen is a loopback address with a port.
	Listen string `json:"listen"`
	// Kubeconfig is the path of a credential that may read /readyz and list endpoints.
	Kubeconfig string `json:"kubeconfig"`
	// Servers are the addresses of API servers, with ports.
	Servers []string `json:"servers"`
	// Kept is the path of the file with the servers that the API named last.
	Kept string `json:"kept"`
}

// timing holds the intervals and limits, which tests shorten.
type timing struct {
	// A server is unready after two checks in a row that fail. One that stops answering
	// without closing its connections is noticed after check + 2 * answer, less than 3 s.
	check  time.Duration // between two checks of a server
	answer time.Duration // limit on the answer to a check
	follow time.Duration // between two looks at the endpoints
	retry  time.Duration // the same while they fail
	dial   time.Duration // limit on a connection to a server
	linger time.Duration // limit on the rest of a connection that one side has closed
}

var usual = timing{
	check: time.Second, answer: 900 * time.Millisecond, follow: 30 * time.Second, retry: 2 * time.Second,
	dial: 2 * time.Second, linger: 10 * time.Second,
}

// maxConnections is the limit on connections at the same time; others wait in the
// listener's queue. A node has about five.
const maxConnections = 1024

// Proxy is the service.
type Proxy struct {
	config Config
	tls    *tls.Config
	client *http.Client // while it serves
	log    *slog.Logger
	timing timing
	slots  chan struct{} // one for each connection
	pool   pool
}

// Load reads a configuration file.
func Load(file string) (Config, error) {
	var c Config
	b, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	if err := strict.DecodeJSON(b, &c); err != nil {
		return c, fmt.Errorf("%q: %w", file, err)
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("%q: %w", file, err)
	}
	return c, nil
}

// Check refuses a configuration that would let others than this host connect.
func (c Config) Check() error {
	listen, err := netip.ParseAddrPort(c.Listen)
	if err == nil && !listen.Addr().IsLoopback() {
		err = fmt.Errorf("%s: not a loopback address", c.Listen)
	}
	errs := []error{err}
	if len(c.Servers) == 0 || len(c.Servers) > maxServers {
		errs = append(errs, fmt.Errorf("servers: found %d, want 1 to %d", len(c.Servers), maxServers))
	}
	return errors.Join(append(errs, checkServers(c.Servers))...)
}

// New returns a proxy. It logs changes of servers and errors to log.
func New(c Config, log *slog.Logger) (*Proxy, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	conf, err := credential(c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return &Proxy{
		config: c, tls: conf, log: log, timing: usual, slots: make(chan struct{}, maxConnections), pool: pool{log: log},
	}, nil
}

// newClient returns the client for checks and endpoints. It speaks HTTP/1.1, in which a
// connection that hangs is given up with its request. Dial and handshake have limits of
// their own, since they go on when the request has ended.
func (p *Proxy) newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: p.timing.answer}).DialContext, TLSHandshakeTimeout: p.timing.answer,
		TLSClientConfig: p.tls, MaxIdleConnsPerHost: 1, DisableCompression: true,
	}}
}

// Serve listens and forwards connections until ctx ends, and then returns nil after
// closing them all. It notifies systemd when it listens.
func (p *Proxy) Serve(ctx context.Context) error {
	l, err := net.Listen("tcp", p.config.Listen)
	if err != nil {
		return err
	}
	return p.serve(ctx, l)
}

func (p *Proxy) serve(ctx context.Context, l net.Listener) error {
	p.client = p.newClient()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer p.client.CloseIdleConnections()
	defer running.Wait()
	defer cancel()
	defer l.Close()
	context.AfterFunc(ctx, func() { l.Close() })
	watch := func(ctx context.Context, s *server) { running.Go(func() { p.watch(ctx, s) }) }
	p.pool.set(ctx, merge(p.config.Servers, p.kept()), watch)
	running.Go(func() { p.follow(ctx, watch) })
	if err := notifyReady(); err != nil {
		p.log.Warn("systemd is not notified", "error", err)
	}
	for {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // no file descriptors, or the client has gone
			<-p.slots
			p.log.Warn("a connection is not accepted", "error", err)
			pause(ctx, p.timing.answer)
			continue
		}
		running.Go(func() {
			defer func() { <-p.slots }()
			p.forward(ctx, conn.(*net.TCPConn))
		})
	}
}

// pause waits for d, or less if ctx ends; it reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// credential returns the client certificate and the authority in a kubeconfig.
func credential(file string) (*tls.Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	_, conf, token, err := kube.ParseKubeconfig(b)
	if err == nil && token != "" {
		err = errors.New("want a client certificate, found a token")
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", file, err)
	}
	return conf, nil
}

// notifyReady sends READY=1 to systemd (sd_notify(3)), if it waits for that.
func notifyReady() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	_, err = c.Write([]byte("READY=1"))
	return errors.Join(err, c.Close())
}
