package apiproxy

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// pool holds the API servers and the connections to each.
type pool struct {
	log     *slog.Logger
	mu      sync.Mutex
	servers []*server // in the order in which they became known
}

// server is an API server. The mutex of the pool guards its fields except addr.
type server struct {
	addr   string
	stop   context.CancelFunc // ends its checks
	known  bool               // a check has ended
	ready  bool
	passed time.Time // start of the last check that passed
	failed time.Time // start of the first check that failed after it
	conns  map[*link]bool
}

// link is a connection through the proxy.
type link struct{ cancel context.CancelFunc }

// set makes addrs the servers of the pool. It starts watch for each new one; its context
// ends when the server is removed, and then its connections are closed.
func (p *pool) set(ctx context.Context, addrs []string, watch func(context.Context, *server)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []*server
	for _, s := range p.servers {
		if slices.Contains(addrs, s.addr) {
			kept = append(kept, s)
			continue
		}
		p.log.Info("server removed", "server", s.addr)
		s.stop()
		s.close()
	}
	for _, a := range addrs {
		if slices.ContainsFunc(kept, func(s *server) bool { return s.addr == a }) {
			continue
		}
		p.log.Info("server added", "server", a)
		s := &server{addr: a, conns: map[*link]bool{}}
		var own context.Context
		own, s.stop = context.WithCancel(ctx)
		kept = append(kept, s)
		watch(own, s)
	}
	p.servers = kept
}

// mark records the result of a check of s that started at a time.
func (p *pool) mark(s *server, started time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, known := s.ready, s.known
	s.ready, s.known = err == nil, true
	switch {
	case err == nil:
		s.passed, s.failed = started, time.Time{}
	case s.failed.IsZero():
		s.failed = started
	}
	switch {
	case s.ready && (!was || !known):
		p.log.Info("server ready", "server", s.addr)
	case !s.ready && (was || !known):
		p.log.Warn("server unready", "server", s.addr, "error", err)
	}
	p.evict()
}

// evict closes the connections to servers that are unready, so that the clients connect
// again, if another one has passed a check since. When all fail together, as during an
// election in etcd, nothing is gained by moving.
func (p *pool) evict() {
	var passed time.Time
	for _, s := range p.servers {
		if s.ready && s.passed.After(passed) {
			passed = s.passed
		}
	}
	for _, s := range p.servers {
		if !s.ready && !s.failed.IsZero() && passed.After(s.failed) {
			s.close()
		}
	}
}

// close ends the connections to the server.
func (s *server) close() {
	for c := range s.conns {
		c.cancel()
	}
}

// candidates returns the servers to which a connection may go, the best first: those that
// are ready by the number of their connections, or all in order if none is ready, as
// before the first API server has started.
func (p *pool) candidates() []*server {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Clone(p.servers)
	ready := slices.DeleteFunc(slices.Clone(all), func(s *server) bool { return !s.ready })
	if len(ready) == 0 {
		return all
	}
	// Nodes must not all choose the same server.
	rand.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	slices.SortStableFunc(ready, func(a, b *server) int { return cmp.Compare(len(a.conns), len(b.conns)) })
	return ready
}

// use counts a connection to s until release is called. The context ends when it has to
// be closed.
func (p *pool) use(ctx context.Context, s *server) (own context.Context, release func()) {
	own, cancel := context.WithCancel(ctx)
	c := &link{cancel}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.conns[c] = true
	if !slices.Contains(p.servers, s) { // removed meanwhile
		cancel()
	}
	return own, func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(s.conns, c)
	}
}
