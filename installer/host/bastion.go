package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Bastions shares connections to bastions between hosts: an sshd refuses some of many
// logins at a time (MaxStartups). The zero value is ready to use.
type Bastions struct {
	mu    sync.Mutex
	conns map[string]*bastion
}

// bastion is a connection that hosts share.
type bastion struct {
	key   string
	ready chan struct{} // closed when ssh or err is set
	ssh   *SSH
	err   error
	users int // hosts; Bastions.mu protects it
}

// get returns the connection named key, which connect makes if there is none that works.
// The caller calls release when it does not need it any more.
func (b *Bastions) get(ctx context.Context, key string, connect func() (*SSH, error)) (s *SSH, release func(), err error) {
	b.mu.Lock()
	e, ok := b.conns[key]
	if !ok {
		e = &bastion{key: key, ready: make(chan struct{})}
		if b.conns == nil {
			b.conns = map[string]*bastion{}
		}
		b.conns[key] = e
	}
	e.users++
	b.mu.Unlock()
	if !ok {
		e.ssh, e.err = connect()
		close(e.ready)
		if e.err != nil {
			b.forget(e)
		} else {
			go func() {
				_ = e.ssh.client.Wait()
				b.forget(e)
			}()
		}
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		go func() { <-e.ready; b.release(e) }()
		return nil, nil, context.Cause(ctx)
	}
	if e.err != nil {
		return nil, nil, e.err
	}
	return e.ssh, sync.OnceFunc(func() { b.release(e) }), nil
}

// forget makes the next host connect anew.
func (b *Bastions) forget(e *bastion) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns[e.key] == e {
		delete(b.conns, e.key)
	}
}

// release closes the connection after its last user.
func (b *Bastions) release(e *bastion) {
	b.mu.Lock()
	e.users--
	last := e.users == 0 && e.ssh != nil
	if last && b.conns[e.key] == e {
		delete(b.conns, e.key)
	}
	b.mu.Unlock()
	if last {
		_ = e.ssh.Close() // it may release another bastion
	}
}

// maxJumps is the largest number of bastions in a row; more are a loop.
const maxJumps = 8

// reach opens a connection to the host's sshd: directly, with a command, or through
// bastions.
func (c *SSHConfig) reach(ctx context.Context, addr string) (net.Conn, error) {
	hop, before := "", ""
	if c.ProxyJump != none {
		i := strings.LastIndexByte(c.ProxyJump, ',')
		before, hop = c.ProxyJump[:max(i, 0)], strings.TrimSpace(c.ProxyJump[i+1:])
	}
	switch {
	case hop == "" && c.ProxyCommand != "" && c.ProxyCommand != none:
		return startProxy(c.expand(c.ProxyCommand))
	case hop == "":
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	case c.jumps == maxJumps:
		return nil, fmt.Errorf("more than %d bastions in a row: %s jumps to itself", maxJumps, hop)
	}
	b, err := c.bastion(hop, before)
	if err != nil {
		return nil, err
	}
	if b.Address == c.alias && (b.User == "" || b.User == c.User) && (b.Port == 0 || b.Port == c.Port) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr) // "Host *" means the bastion too
	}
	key := fmt.Sprintf("%d %s after %s", b.jumps, hop, before) // with the depth, a loop does not wait for itself
	s, release, err := c.Bastions.get(ctx, key, func() (*SSH, error) { return DialSSH(ctx, b) })
	if err != nil {
		return nil, err
	}
	conn, err := s.client.DialContext(ctx, "tcp", addr)
	if err != nil {
		release()
		return nil, fmt.Errorf("%s does not connect to %s: %w", b.Name, addr, err)
	}
	return &jumpConn{conn, release}, nil
}

// bastion returns the settings of hop, "user@host:port", which is reached through the
// bastions before. They come from the configuration file, like those of OpenSSH; keys and
// known hosts are those of the host otherwise.
func (c *SSHConfig) bastion(hop, before string) (SSHConfig, error) {
	b := *c.given
	b.Name, b.ProxyJump, b.ProxyCommand, b.jumps = "bastion "+hop, before, "", c.jumps+1
	b.User, b.Port, b.HostKey, b.Sudo, b.Bastions = "", 0, "", nil, c.Bastions
	hop = strings.TrimPrefix(hop, "ssh://")
	if i := strings.LastIndexByte(hop, '@'); i >= 0 {
		b.User, hop = hop[:i], hop[i+1:]
	}
	b.Address = strings.Trim(hop, "[]")
	if host, port, err := net.SplitHostPort(hop); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return b, fmt.Errorf("%s: port %q: want 1 to 65535", b.Name, port)
		}
		b.Address, b.Port = host, int(n)
	}
	return b, nil
}

// jumpConn is a connection through a bastion.
type jumpConn struct {
	net.Conn
	release func()
}

func (j *jumpConn) Close() error {
	err := j.Conn.Close()
	j.release()
	if errors.Is(err, io.EOF) {
		return nil // it is closed already
	}
	return err
}

// proxyConn is a ProxyCommand: its stdin and stdout are the connection.
type proxyConn struct {
	io.Reader
	io.WriteCloser
	cmd  *exec.Cmd
	said *strings.Builder
	once sync.Once
	err  error // of Close
}

// startProxy runs a ProxyCommand of the user's configuration, with a shell as OpenSSH does.
func startProxy(line string) (net.Conn, error) {
	cmd := exec.Command(cmp.Or(os.Getenv("SHELL"), "/bin/sh"), "-c", "exec "+line)
	// Ctrl-C is for offk8s, as in Local.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &proxyConn{cmd: cmd, said: &strings.Builder{}}
	cmd.Stderr = p.said
	var err error
	if p.WriteCloser, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.Reader, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("ProxyCommand: %w", err)
	}
	return p, nil
}

func (p *proxyConn) Close() error {
	p.once.Do(func() {
		_ = p.WriteCloser.Close()
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
		if _ = p.cmd.Wait(); p.said.Len() > 0 {
			p.err = fmt.Errorf("ProxyCommand: %s", strings.TrimSpace(p.said.String()))
		}
	})
	return p.err
}

func (p *proxyConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *proxyConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (p *proxyConn) SetDeadline(time.Time) error      { return nil }
func (p *proxyConn) SetReadDeadline(time.Time) error  { return nil }
func (p *proxyConn) SetWriteDeadline(time.Time) error { return nil }
