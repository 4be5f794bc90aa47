package apiproxy

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// keepAlive closes a connection to a server that has gone without a word, after 15 s
// without an answer. Checks notice that earlier, unless no other server is ready.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 2}

// unanswered is the limit on the time that sent data may stay without acknowledgement.
const unanswered = 15 * time.Second

// forward connects a client with the first candidate that answers.
func (p *Proxy) forward(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	for _, s := range p.pool.candidates() {
		if p.through(ctx, client, s) || ctx.Err() != nil {
			return
		}
	}
}

// through forwards the connection through s until it ends. It returns false if s did not
// take it.
func (p *Proxy) through(ctx context.Context, client *net.TCPConn, s *server) bool {
	ctx, release := p.pool.use(ctx, s)
	defer release()
	d := net.Dialer{Timeout: p.timing.dial, KeepAliveConfig: keepAlive}
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		p.log.Debug("server does not take the connection", "server", s.addr, "error", err)
		return false
	}
	up := c.(*net.TCPConn)
	defer up.Close()
	setUserTimeout(up, unanswered)
	stop := context.AfterFunc(ctx, func() {
		client.Close()
		up.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { p.copy(up, client) })
	both.Go(func() { p.copy(client, up) })
	both.Wait()
	return true
}

// copy sends from src to dst until src has no more, and says so to dst. On Linux the
// kernel moves the bytes (splice(2)). What is left in the other direction has little time.
func (p *Proxy) copy(dst, src *net.TCPConn) {
	_, err := io.Copy(dst, src)
	if err != nil { // one of them is gone
		src.Close()
		dst.Close()
		return
	}
	_ = dst.CloseWrite()
	_ = dst.SetDeadline(time.Now().Add(p.timing.linger))
	_ = src.SetWriteDeadline(time.Now().Add(p.timing.linger))
}

// setUserTimeout sets TCP_USER_TIMEOUT (tcp(7)). A kernel without it leaves the limit of
// the retransmissions, about 15 minutes.
func setUserTimeout(c *net.TCPConn, d time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
