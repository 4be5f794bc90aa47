package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSHConfig describes how to reach a host. The zero value of a field means the value in
// ConfigFile, or else its usual value.
type SSHConfig struct {
	Name    string // in the inventory
	Address string // host name or IP, or a Host of ConfigFile
	Port    int    // default 22
	User    string // default "root"; others need sudo
	Sudo    *Sudo  // the password for sudo; nil: sudo must not ask
	// KeyFile is the private key; default: the keys of ssh-agent, then id_ed25519,
	// id_ecdsa and id_rsa in Home's .ssh. A certificate for it is in the file with -cert.pub
	// after its name.
	KeyFile string
	// Passphrases are those of key files that are encrypted.
	Passphrases map[string][]byte
	// ProxyJump are the bastions on the way, "user@host:port,…"; "none" if there are none.
	ProxyJump string
	// ProxyCommand is a command whose stdin and stdout are the connection.
	ProxyCommand string
	// Bastions has the connections to bastions; default: one for each host.
	Bastions *Bastions
	// ConfigFile is a file like ssh_config(5); default: Home's .ssh/config, if it exists;
	// "none": no file.
	ConfigFile string
	// KnownHosts are files in OpenSSH's format; default: Home's .ssh/known_hosts and
	// /etc/ssh/ssh_known_hosts, if they exist.
	KnownHosts []string
	// HostKey pins the fingerprint of the host's key, "SHA256:…", instead of KnownHosts.
	HostKey string
	// Accept decides about a host that is not in KnownHosts; if it returns true, the key
	// is appended to the first file. Nil means no. It is never called for a changed key.
	Accept func(name, address, fingerprint string) bool
	// InsecureHostKey accepts any key, for test labs; the caller must warn.
	InsecureHostKey bool
	// AgentSocket is the socket of ssh-agent, if there is one.
	AgentSocket string
	// Home is the user's home directory; "" disables the default files.
	Home string
	// Timeout limits connecting and logging in; default 20 s.
	Timeout time.Duration

	given               *SSHConfig // before ConfigFile was read
	alias               string     // in ConfigFile
	keyFiles, certFiles []string   // of ConfigFile
	keysOnly            bool       // of ssh-agent, only those that files name
	locked, notes       []string   // see identities
	jumps               int        // a bastion: hosts behind it
}

// keepAlive is the interval between two probes of a connection; it is closed after three
// lost answers.
const keepAlive = 15 * time.Second

// SSH is a host over SSH.
type SSH struct {
	conf   SSHConfig
	raw    net.Conn
	client *ssh.Client
	stop   chan struct{}
	close  sync.Once
}

// DialSSH connects and logs in. Errors about the host's key are *HostKeyError, those about
// keys with a passphrase *LockedKeyError.
func DialSSH(ctx context.Context, c SSHConfig) (*SSH, error) {
	if err := c.defaults(); err != nil {
		return nil, fmt.Errorf("ssh %s: %w", c.Name, err)
	}
	conf, closeAgent, err := c.client(ctx)
	if err != nil {
		return nil, fmt.Errorf("ssh %s: %w", c.Name, err)
	}
	defer closeAgent()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	addr := net.JoinHostPort(c.Address, strconv.Itoa(c.Port))
	raw, err := c.reach(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("ssh %s: %w", c.Name, err)
	}
	// The handshake has no context: closing the socket ends it.
	unwatch := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, chans, reqs, err := ssh.NewClientConn(raw, addr, conf)
	if !unwatch() && err == nil {
		err = errors.Join(context.Cause(ctx), conn.Close())
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no login within %s: %w", c.Timeout, context.Cause(ctx))
		}
		if strings.Contains(err.Error(), "unable to authenticate") { // the library has no type for it
			err = c.explain(err)
		}
		return nil, errors.Join(fmt.Errorf("ssh %s (%s@%s): %w", c.Name, c.User, addr, err), ignoreClosed(raw.Close()))
	}
	s := &SSH{conf: c, raw: raw, client: ssh.NewClient(conn, chans, reqs), stop: make(chan struct{})}
	go s.probe()
	return s, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// defaults fills empty fields.
func (c *SSHConfig) defaults() error {
	given := *c
	c.given, c.alias = &given, c.Address
	if c.Bastions == nil {
		c.Bastions = &Bastions{}
	}
	c.KnownHosts = slices.Clone(c.KnownHosts)
	if err := c.readConfig(); err != nil {
		return err
	}
	c.Port = cmp.Or(c.Port, 22)
	if c.User == "" && c.jumps > 0 {
		c.User = localUser() // as OpenSSH has it
	}
	c.User = cmp.Or(c.User, "root")
	c.Timeout = cmp.Or(c.Timeout, 20*time.Second)
	c.expandFiles()
	return nil
}

// probe keeps the connection alive in firewalls that drop idle connections, and closes
// it when the other side is gone, so that nothing waits forever.
func (s *SSH) probe() {
	t := time.NewTicker(keepAlive)
	defer t.Stop()
	lost := 0
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		answered := make(chan error, 1)
		go func() {
			_, _, err := s.client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		select {
		case err := <-answered:
			if lost = 0; err != nil {
				return
			}
		case <-s.stop:
			return
		case <-time.After(keepAlive):
			if lost++; lost == 3 {
				_ = s.client.Close()
				return
			}
		}
	}
}

func (s *SSH) Name() string { return s.conf.Name }

func (s *SSH) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(argv) == 0 {
		return fmt.Errorf("run on %s: no program", s.conf.Name)
	}
	o := newOpening(s.conf.Name, s.conf.Sudo, stdout, stderr)
	line, err := quote(o.argv(argv, s.conf.User == "root"))
	if err != nil {
		return fmt.Errorf("run on %s: %w", s.conf.Name, err)
	}
	session, err := s.client.NewSession()
	if err != nil {
		return fmt.Errorf("ssh %s: %w", s.conf.Name, err)
	}
	defer session.Close()
	session.Stdout, session.Stderr = openingOut{o}, openingErr{o}
	in, err := session.StdinPipe()
	if err != nil {
		return fmt.Errorf("ssh %s: %w", s.conf.Name, err)
	}
	o.stdin = in
	if err := session.Start(line); err != nil {
		return fmt.Errorf("ssh %s: %w", s.conf.Name, err)
	}
	wait := func() error {
		err := session.Wait()
		if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
			return &ExitError{Program: argv[0], Code: exit.ExitStatus()}
		}
		if _, ok := errors.AsType[*ssh.ExitMissingError](err); ok {
			return fmt.Errorf("ssh %s: the connection was lost", s.conf.Name)
		}
		return err
	}
	return o.run(ctx, in, stdin, wait, func() {
		_ = session.Signal(ssh.SIGTERM)
		_ = session.Close()
	})
}

func (s *SSH) Upload(ctx context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error {
	return upload(ctx, s, r, size, dest, mode)
}

func (s *SSH) Close() error {
	s.close.Do(func() { close(s.stop) })
	return errors.Join(ignoreClosed(s.client.Close()), ignoreClosed(s.raw.Close()))
}
