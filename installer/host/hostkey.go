package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Why a host's key was refused.
var (
	ErrUnknownHost = errors.New("host key is not known")
	ErrChangedHost = errors.New("host key has changed")
	ErrRevokedHost = errors.New("host key is revoked")
)

// HostKeyError is a host whose key was refused; nothing was sent to it.
type HostKeyError struct {
	Address     string
	Fingerprint string // of the key it showed
	// Where is the line of known_hosts, or the pin, that says otherwise.
	Where []string
	Err   error
}

// Error tells what was found and where it says otherwise.
func (e *HostKeyError) Error() string {
	s := fmt.Sprintf("%s: %v: it shows %s", e.Address, e.Err, e.Fingerprint)
	if len(e.Where) > 0 {
		s += ", want what " + strings.Join(e.Where, ", ") + " says"
	}
	return s
}

// Unwrap returns ErrUnknownHost, ErrChangedHost, ErrRevokedHost or the cause.
func (e *HostKeyError) Unwrap() error { return e.Err }

// hostKeys decides about the key of a host.
func (c *SSHConfig) hostKeys() (callback ssh.HostKeyCallback, algorithms []string, err error) {
	switch {
	case c.InsecureHostKey:
		return func(string, net.Addr, ssh.PublicKey) error { return nil }, nil, nil
	case c.HostKey != "":
		return c.pinned, nil, nil
	}
	known, err := c.knownHosts()
	if err != nil {
		return nil, nil, err
	}
	check := func(string, net.Addr, ssh.PublicKey) error { return &knownhosts.KeyError{} }
	if len(known) > 0 {
		if check, err = knownhosts.New(known...); err != nil {
			return nil, nil, fmt.Errorf("known hosts: %w", err)
		}
	}
	return c.known(check), knownAlgorithms(check, c.Address, c.Port), nil
}

// knownHosts returns the files that are there; one that the user named must be.
func (c *SSHConfig) knownHosts() ([]string, error) {
	if len(c.KnownHosts) > 0 {
		for _, f := range c.KnownHosts {
			// With Accept the first may be made by the answer.
			if _, err := os.Stat(f); err != nil && !(c.Accept != nil && os.IsNotExist(err)) {
				return nil, fmt.Errorf("known hosts: %w", err)
			}
		}
	} else {
		c.KnownHosts = []string{"/etc/ssh/ssh_known_hosts"}
		if c.Home != "" {
			c.KnownHosts = []string{filepath.Join(c.Home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"}
		}
	}
	return slices.DeleteFunc(slices.Clone(c.KnownHosts), func(f string) bool {
		_, err := os.Stat(f)
		return os.IsNotExist(err)
	}), nil
}

// pinned compares with the inventory's fingerprint; of a certificate the key
// inside counts.
func (c *SSHConfig) pinned(address string, _ net.Addr, key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if got := ssh.FingerprintSHA256(key); got != c.HostKey {
		return &HostKeyError{address, got, []string{"the inventory (" + c.HostKey + ")"}, ErrChangedHost}
	}
	return nil
}

// known wraps the check of known_hosts with words and with the question about
// unknown hosts.
func (c *SSHConfig) known(check ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(address string, remote net.Addr, key ssh.PublicKey) error {
		err := check(address, remote, key)
		if err == nil {
			return nil
		}
		e := &HostKeyError{Address: address, Fingerprint: ssh.FingerprintSHA256(key), Err: err}
		differs, revoked := (*knownhosts.KeyError)(nil), (*knownhosts.RevokedError)(nil)
		switch {
		case errors.As(err, &revoked):
			e.Err, e.Where = ErrRevokedHost, []string{where(revoked.Revoked)}
		case errors.As(err, &differs) && len(differs.Want) > 0:
			e.Err = ErrChangedHost
			for _, w := range differs.Want {
				e.Where = append(e.Where, where(w))
			}
		case errors.As(err, &differs):
			e.Err = ErrUnknownHost
			if c.Accept != nil && c.Accept(address, e.Fingerprint) {
				return c.remember(address, key)
			}
		}
		return e
	}
}

func where(k knownhosts.KnownKey) string { return fmt.Sprintf("%s:%d", k.Filename, k.Line) }

// remember appends an accepted key to the first known_hosts file.
func (c *SSHConfig) remember(address string, key ssh.PublicKey) error {
	file := c.KnownHosts[0]
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(knownhosts.Line([]string{knownhosts.Normalize(address)}, key) + "\n")
	return errors.Join(err, f.Close())
}

// knownAlgorithms returns the host key algorithms for which there is something
// to compare with: a host has several keys, and one that is not in known_hosts
// would look like a changed one. Nil means the usual ones.
func knownAlgorithms(check ssh.HostKeyCallback, address string, port int) []string {
	addr := net.JoinHostPort(address, fmt.Sprint(port))
	var e *knownhosts.KeyError
	if !errors.As(check(addr, &net.TCPAddr{IP: net.IPv4zero, Port: port}, noKey{}), &e) || len(e.Want) == 0 {
		return nil
	}
	var plain, certs []string
	for _, w := range e.Want {
		if authority(w) {
			certs = ssh.SupportedAlgorithms().HostKeys
			certs = slices.DeleteFunc(slices.Clone(certs), func(a string) bool { return !strings.Contains(a, "-cert-") })
			continue
		}
		switch t := w.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			plain = append(plain, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			plain = append(plain, t)
		}
	}
	return append(certs, plain...)
}

// authority reports whether the line of known_hosts is a @cert-authority.
func authority(k knownhosts.KnownKey) bool {
	b, err := os.ReadFile(k.Filename)
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	return k.Line > 0 && k.Line <= len(lines) && strings.HasPrefix(strings.TrimSpace(lines[k.Line-1]), "@cert-authority")
}

// noKey is a key that no file knows.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
