package files

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// piece is the number of bytes between two extensions of the write deadline.
	piece = 4 << 20
	// unsent is the number of bytes for which the kernel keeps no place in the network
	// yet. More of them do not make a transfer faster, and the memory of the kernel is
	// for all clients.
	unsent = 1 << 20
)

// connKey is the key of the connection in the context of a request.
type connKey struct{}

// WithConn is for the ConnContext of an http.Server. A Sender that finds the
// connection in the context of a request holds no buffer while it waits for a slow
// client; net/http alone holds 32 KiB.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return ctx
	}
	raw, err := socket.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			// A kernel without this option keeps more.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		})
	}
	if err != nil {
		return ctx // the first write to the connection returns the reason
	}
	return context.WithValue(ctx, connKey{}, raw)
}

// pace divides a body into pieces that the client's socket takes without blocking.
type pace struct {
	w       http.ResponseWriter
	timeout time.Duration
	socket  syscall.RawConn // nil if it is not known: then writes block
	room    int64           // bytes that the socket takes
	due     int64           // bytes until the deadline is extended
}

func (s *Sender) pace(w http.ResponseWriter, r *http.Request) *pace {
	socket, _ := r.Context().Value(connKey{}).(syscall.RawConn)
	return &pace{w: w, timeout: s.timeout, socket: socket}
}

// next returns how many of the next n bytes to write now. If the socket is full, it
// waits until a part of it is free. The caller should hold no buffer meanwhile.
func (p *pace) next(n int64) (int64, error) {
	if p.due == 0 {
		// Ignore writers without deadlines (tests).
		_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(p.timeout))
		p.due = piece
	}
	n = min(n, p.due)
	if p.socket != nil {
		if p.room < min(n, small) {
			// The function runs until it returns true: each time the socket has become
			// writable.
			if err := p.socket.Write(func(fd uintptr) (ok bool) { p.room, ok = room(int(fd)); return ok }); err != nil {
				return 0, err
			}
		}
		n = min(n, p.room)
		p.room -= n
	}
	p.due -= n
	return n, nil
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
	// This does more than a comparison would: after it the kernel tells the poller.
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if ready, err := unix.Poll(poll, 0); err == nil && ready == 0 {
		return 0, false
	}
	return max(n, small), true
}
