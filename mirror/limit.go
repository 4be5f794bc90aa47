package mirror

import (
	"net"
	"net/http"
	"sync"
)

// limit limits the open connections of an http.Server. It counts them through
// ConnState and does not wrap net.Conn, because sendfile needs the TCP connection.
type limit struct {
	slots chan struct{}
	once  sync.Once
	done  chan struct{}
}

func newLimit(n int) *limit {
	return &limit{slots: make(chan struct{}, n), done: make(chan struct{})}
}

// state is the ConnState hook of the server; Accept takes the slot.
func (l *limit) state(_ net.Conn, s http.ConnState) {
	if s == http.StateClosed || s == http.StateHijacked {
		<-l.slots
	}
}

// open returns the number of open connections.
func (l *limit) open() int { return len(l.slots) }

// close wakes an Accept that waits for a slot.
func (l *limit) close() { l.once.Do(func() { close(l.done) }) }

func (l *limit) listener(inner net.Listener) net.Listener { return &limited{inner, l} }

type limited struct {
	net.Listener
	limit *limit
}

// Accept waits for a slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.limit.slots <- struct{}{}:
	case <-l.limit.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.limit.slots
	}
	return c, err
}
