package mirror

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"

	"github.com/offk8s/offk8s/mirror/files"
)

// limit limits the open connections of an http.Server, in total and for each
// client address. It counts them through ConnState.
type limit struct {
	slots   chan struct{}
	each    int // connections of one address
	resumed chan net.Conn
	once    sync.Once
	done    chan struct{}

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // that are open, below TLS
	clients map[netip.Addr]*client
	waiting int // of all clients, with those in resumed
	garbage int // of the collector in percent, while it is less for a crowd
}

// With a crowd of connections the collector lets less garbage come together. Their
// stacks and buffers count for it too, so it would wait for 20 MiB and more; with few
// connections that is a small amount, and more work is all that less of it brings.
const (
	crowd        = 256 // connections
	crowdGarbage = 20  // percent
	usualGarbage = 100
)

// client is an address with open connections. Further ones wait in the order in
// which they came, so that many hosts behind one address (NAT) are slowed down and
// not refused.
type client struct {
	open    int
	waiting []net.Conn
}

// newLimit allows n connections, each of them of one address. As many more may
// wait.
func newLimit(n, each int) *limit {
	return &limit{
		slots: make(chan struct{}, n), each: each, resumed: make(chan net.Conn, n), done: make(chan struct{}),
		conns: make(map[net.Conn]struct{}), clients: make(map[netip.Addr]*client),
	}
}

func addressOf(c net.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// state is the ConnState hook of the server; Accept takes the slot.
func (l *limit) state(c net.Conn, s http.ConnState) {
	below := files.Below(c)
	switch s {
	case http.StateNew:
		l.mu.Lock()
		l.conns[below] = struct{}{}
		l.collect()
		l.mu.Unlock()
	case http.StateClosed, http.StateHijacked:
		l.mu.Lock()
		delete(l.conns, below)
		l.collect()
		l.mu.Unlock()
		l.leave(addressOf(c))
		<-l.slots
	}
}

// collect sets the amount of garbage, unless GOGC asks for less than a crowd has.
func (l *limit) collect() {
	switch n := len(l.conns); {
	case n >= crowd && l.garbage == 0:
		// Before the first collection it is more than usual, see cmd/offk8s/firstgc.
		if l.garbage = min(debug.SetGCPercent(crowdGarbage), usualGarbage); l.garbage < crowdGarbage {
			debug.SetGCPercent(l.garbage)
		}
	case n < crowd/2 && l.garbage != 0:
		debug.SetGCPercent(l.garbage)
		l.garbage = 0
	}
}

// cut closes all connections. http.Server.Close alone would, over TLS, wait up to 5
// seconds for each client that does not read.
func (l *limit) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// enter counts a new connection and reports whether it may go on now. If not, it
// waits or, if too many wait, is closed.
func (l *limit) enter(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.clients[addressOf(c)]
	if from == nil {
		from = &client{}
		l.clients[addressOf(c)] = from
	}
	switch {
	case from.open < l.each:
		from.open++
		return true
	case l.waiting < cap(l.resumed):
		from.waiting = append(from.waiting, c)
		l.waiting++
	default:
		_ = c.Close()
	}
	return false
}

// leave counts a closed connection, whose place the next one that waits takes.
func (l *limit) leave(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.clients[a]
	switch {
	case len(from.waiting) > 0:
		l.resumed <- from.waiting[0] // has room for all that wait
		from.waiting = from.waiting[1:]
	case from.open > 1:
		from.open--
	default:
		delete(l.clients, a)
	}
}

// open returns the number of open connections.
func (l *limit) open() int { return len(l.slots) }

// close wakes an Accept that waits, and closes the connections that wait.
func (l *limit) close() {
	l.once.Do(func() { close(l.done) })
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, from := range l.clients {
		for _, c := range from.waiting {
			_ = c.Close()
		}
		from.waiting = nil
	}
	for {
		select {
		case c := <-l.resumed:
			_ = c.Close()
		default:
			return
		}
	}
}

func (l *limit) listener(inner net.Listener) net.Listener {
	x := &limited{inner, l, make(chan accepted)}
	go x.accept()
	return x
}

type limited struct {
	net.Listener
	limit *limit
	next  chan accepted
}

// accepted is the result of Accept of the listener below.
type accepted struct {
	conn net.Conn
	err  error
}

// accept accepts connections, so that Accept can also wait for one to resume.
func (l *limited) accept() {
	for {
		c, err := l.Listener.Accept()
		select {
		case l.next <- accepted{c, err}:
		case <-l.limit.done:
			if err == nil {
				_ = c.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept waits for a slot, then for a connection that may go on.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.limit.slots <- struct{}{}:
	case <-l.limit.done:
		return nil, net.ErrClosed
	}
	for {
		select {
		case c := <-l.limit.resumed:
			l.limit.mu.Lock()
			l.limit.waiting--
			l.limit.mu.Unlock()
			return files.NewConn(c), nil
		case a := <-l.next:
			if a.err != nil {
				<-l.limit.slots
				return nil, a.err
			}
			if l.limit.enter(a.conn) {
				return files.NewConn(a.conn), nil
			}
		case <-l.limit.done:
			<-l.limit.slots
			return nil, net.ErrClosed
		}
	}
}
