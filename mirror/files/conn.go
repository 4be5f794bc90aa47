package files

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent is the number of bytes for which the kernel keeps no place in the network
// yet. More of them do not make a transfer faster, and the memory of the kernel is
// for all clients.
const unsent = 1 << 20

// conn is the TCP connection of a client, below TLS.
type conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	holding bool
	held    []byte // the head of an answer that waits for its body
}

// NewConn returns c for an http.Server or, below TLS, for a tls.Conn. With it and
// WithConn a Sender sends files without a copy and small ones in one write, and holds no
// buffer while it waits for a slow client; net/http alone holds 32 KiB.
func NewConn(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			// A kernel without this option keeps more.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		})
	}
	if err != nil {
		return c // the first write to the connection returns the reason
	}
	return &conn{TCPConn: tcp, raw: raw}
}

// Below returns the connection below TLS, or c.
func Below(c net.Conn) net.Conn {
	if over, ok := c.(*tls.Conn); ok {
		return over.NetConn()
	}
	return c
}

// connKey is the key of the connection in the context of a request.
type connKey struct{}

// WithConn is for the ConnContext of an http.Server.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	if c, ok := Below(c).(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// connOf returns the connection of r, or nil if it is not known.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}

// Write holds a head back until its body follows.
func (c *conn) Write(b []byte) (int, error) {
	if c.holding {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	return c.TCPConn.Write(b)
}

// ReadFrom sends a body or an extent that a Sender hands to net/http.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	switch src := r.(type) {
	case *body:
		return c.release(src.bytes)
	case *extent:
		return src.send(c.raw)
	}
	return c.TCPConn.ReadFrom(r)
}

// body is small content in memory.
type body struct{ bytes []byte }

// Read is for writers that do not know a body.
func (b *body) Read(p []byte) (int, error) {
	if len(b.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.bytes)
	b.bytes = b.bytes[n:]
	return n, nil
}

// together sends b and the head before it, of a response that has not begun, in one
// write, so that the client wakes once.
func (c *conn) together(w http.ResponseWriter, to io.ReaderFrom, b []byte) error {
	c.holding = true
	err := http.NewResponseController(w).Flush()
	if err == nil {
		_, err = to.ReadFrom(&body{b})
	}
	if c.holding { // net/http wrote the body, or failed
		_, lost := c.release(nil)
		err = errors.Join(err, lost)
	}
	return err
}

// release writes the head that was held back, and b. It returns how many bytes of b were
// written.
func (c *conn) release(b []byte) (int64, error) {
	both := net.Buffers{c.held, b}
	head := int64(len(c.held))
	c.holding, c.held = false, c.held[:0]
	n, err := both.WriteTo(c.TCPConn)
	return max(n-head, 0), err
}

// space returns how many bytes the socket takes without blocking. If they are too few to
// write, it waits.
func (c *conn) space() (n int64, err error) {
	// The function runs until it returns true: each time the socket has become writable.
	err = c.raw.Write(func(fd uintptr) (ok bool) { n, ok = room(int(fd)); return ok })
	return n, err
}

// wait waits until the socket is writable.
func (c *conn) wait() error {
	asked := false
	return c.raw.Write(func(fd uintptr) bool {
		// The second time the poller says so.
		ready := asked || writable(int(fd))
		asked = true
		return ready
	})
}

// room returns how many bytes a socket takes without blocking. ok is false if they
// are too few to write; the poller then tells when there are more. If the socket
// failed, ok is true, so that a write returns the reason.
func room(fd int) (n int64, ok bool) {
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return piece, true
	}
	queued, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil {
		return piece, true
	}
	waiting, err := unix.IoctlGetInt(fd, unix.SIOCOUTQNSD)
	if err != nil {
		return piece, true
	}
	// The kernel counts its own data about the bytes too.
	n = int64(min(size-size/8-queued, unsent-waiting))
	if n >= int64(min(size, unsent))/4 {
		return n, true
	}
	return max(n, small), writable(fd)
}

// writable reports whether a socket is writable, or failed. If not, the kernel tells the
// poller when it is.
func writable(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(poll, 0)
	return err != nil || n > 0
}
