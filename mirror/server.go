package mirror

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/offk8s/offk8s/mirror/files"
)

// Server runs a Mirror on listeners. The zero value of each option has a usable
// default; Mirror and Listeners must be set.
type Server struct {
	Mirror *Mirror
	// Next delivers mirrors that take the place of the one before; nil delivers none.
	Next <-chan Next
	// Listeners that clients connect to; Run closes them.
	Listeners []net.Listener
	// TLS of the listeners; nil serves plain HTTP.
	TLS *tls.Config
	// Admin serves /metrics and /debug/pprof/ without TLS and must listen on
	// loopback; nil for neither.
	Admin net.Listener
	// Ready is called when requests are answered, unless it is nil.
	Ready func()
	// VerifyFirst hashes every blob before the first request is answered.
	VerifyFirst bool
	// MaxConnections bounds open connections; further ones wait in the kernel's
	// queue. 0 means 4096.
	MaxConnections int
	// MaxPerAddress bounds open connections of one client address; further ones
	// wait until one is closed, and do not keep out other addresses. 0 means half of
	// MaxConnections.
	MaxPerAddress int
	// HeaderTimeout is how long a client may take for the head of a request, 0
	// means 10 seconds; IdleTimeout how long it may keep a connection without a
	// request, 0 means 90 seconds.
	HeaderTimeout, IdleTimeout time.Duration
	// ShutdownTimeout is how long transfers in flight may take after the context
	// is done; 0 means 30 seconds.
	ShutdownTimeout time.Duration

	serving serving
}

// maxHeader bounds the head of a request in bytes.
const maxHeader = 16 << 10

// Run serves until ctx is done, waits for transfers in flight and returns nil. It
// returns an error if VerifyFirst finds a damaged blob (bundle.ErrVerify) or if a
// listener fails.
func (s *Server) Run(ctx context.Context) error {
	defer s.closeListeners()
	if s.Mirror == nil || len(s.Listeners) == 0 {
		return errors.New("serve: no mirror or no listener given")
	}
	if s.Admin != nil && !loopback(s.Admin.Addr()) {
		return fmt.Errorf("serve: metrics on %q: only a loopback address is allowed", s.Admin.Addr())
	}
	if s.VerifyFirst {
		if err := s.Mirror.Verify(ctx); err != nil {
			return fmt.Errorf("serve: verify before listening: %w", err)
		}
	}
	s.serving.current = &lease{mirror: s.Mirror}
	s.warn(time.Now())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	scrubbed := make(chan struct{})
	go func() {
		defer close(scrubbed)
		s.background(ctx)
	}()
	err := s.serve(ctx)
	stop()
	<-scrubbed
	return err
}

// warn logs if a certificate or a bundle has expired or expires soon, because
// clients will refuse it.
func (s *Server) warn(now time.Time) {
	if end := s.certificateExpiry(); !end.IsZero() && end.Before(now.AddDate(0, 0, 30)) {
		s.Mirror.log.Warn("the mirror's certificate expires soon", "end", end)
	}
	for _, b := range s.now().bundles {
		if err := b.Lock().CheckAge(now); err != nil {
			s.Mirror.log.Warn("the bundle should not be used any more", "err", err)
		}
	}
}

// serve runs the HTTP servers until ctx is done or one of them fails.
func (s *Server) serve(ctx context.Context) error {
	main := s.mainServer()
	connections := cmp.Or(s.MaxConnections, 4096)
	limit := newLimit(connections, cmp.Or(s.MaxPerAddress, connections/2, 1))
	main.ConnState = limit.state
	failed := make(chan error, len(s.Listeners)+1)
	for _, l := range s.Listeners {
		go func() { failed <- serveOn(main, limit.listener(l), s.TLS) }()
	}
	servers := []*http.Server{main}
	if s.Admin != nil {
		admin := &http.Server{Handler: s.adminHandler(limit), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: maxHeader}
		servers = append(servers, admin)
		go func() { failed <- serveOn(admin, s.Admin, nil) }()
	}
	if s.Ready != nil {
		s.Ready()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	limit.close()
	return errors.Join(err, s.shutdown(ctx, servers, limit))
}

func (s *Server) mainServer() *http.Server {
	// HTTP/1.1 only: it is faster for bulk transfers, dnf and apt use nothing
	// else, and with one request at a time on a connection the limit of
	// connections also limits requests.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      http.HandlerFunc(s.answer),
		Protocols:                    &protocols,
		ReadHeaderTimeout:            cmp.Or(s.HeaderTimeout, 10*time.Second),
		IdleTimeout:                  cmp.Or(s.IdleTimeout, 90*time.Second),
		ConnContext:                  files.WithConn,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     slog.NewLogLogger(s.Mirror.log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true,
	}
}

func serveOn(server *http.Server, l net.Listener, config *tls.Config) error {
	if config != nil {
		config = config.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
		config.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, config)
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// shutdown waits for requests in flight, at most ShutdownTimeout.
func (s *Server) shutdown(ctx context.Context, servers []*http.Server, l *limit) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.ShutdownTimeout, 30*time.Second))
	defer cancel()
	var errs []error
	for _, server := range servers {
		if err := server.Shutdown(ctx); err != nil {
			s.Mirror.log.Warn("transfers were cut", "error", err)
			l.cut()
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *Server) closeListeners() {
	for _, l := range append(s.Listeners, s.Admin) {
		if l != nil {
			_ = l.Close() // usually the server has closed it
		}
	}
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
