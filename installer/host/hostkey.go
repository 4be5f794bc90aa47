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

// Reasons for a HostKeyError.
var (
	ErrUnknownHost = errors.New("host key is not known")
	ErrChangedHost = errors.New("host key has changed")
	ErrRevokedHost = errors.New("host key is revoked")
)

// HostKeyError reports that a host's key was refused, before anything was sent to it.
type HostKeyError struct {
	Address     string
	Fingerprint string // of the host's key
	// Where lists the lines of known_hosts, or the pin, that contradict.
	Where []string
	Err   error
}

func (e *HostKeyError) Error() string {
	s := fmt.Sprintf("%s: %v: it shows %s", e.Address, e.Err, e.Fingerprint)
	if len(e.Where) > 0 {
		s += ", want what " + strings.Join(e.Where, ", ") + " says"
	}
	return s
}

// Unwrap returns ErrUnknownHost, ErrChangedHost, ErrRevokedHost or another cause.
func (e *HostKeyError) Unwrap() error { return e.Err }

// hostKeys returns the function that verifies the host's key, and the key algorithms to
// request; nil means all.
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

// knownHosts returns the existing files. A file of the user must exist.
func (c *SSHConfig) knownHosts() ([]string, error) {
	if len(c.KnownHosts) > 0 {
		for _, f := range c.KnownHosts {
			// Accept may create the first one.
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

// pinned compares a key, or the key of a certificate, with the inventory's fingerprint.
func (c *SSHConfig) pinned(address string, _ net.Addr, key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if got := ssh.FingerprintSHA256(key); got != c.HostKey {
		return &HostKeyError{address, got, []string{"cluster.yaml (" + c.HostKey + ")"}, ErrChangedHost}
	}
	return nil
}

// known returns a callback that turns errors of check into HostKeyErrors and calls
// Accept for unknown hosts.
func (c *SSHConfig) known(check ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(address string, remote net.Addr, key ssh.PublicKey) error {
		err := check(address, remote, key)
		if err == nil {
			return nil
		}
		e := &HostKeyError{Address: address, Fingerprint: ssh.FingerprintSHA256(key), Err: err}
		revoked, isRevoked := errors.AsType[*knownhosts.RevokedError](err)
		differs, isDifferent := errors.AsType[*knownhosts.KeyError](err)
		switch {
		case isRevoked:
			e.Err, e.Where = ErrRevokedHost, []string{where(revoked.Revoked)}
		case isDifferent && len(differs.Want) > 0:
			e.Err = ErrChangedHost
			for _, w := range differs.Want {
				e.Where = append(e.Where, where(w))
			}
		case isDifferent:
			e.Err = ErrUnknownHost
			if c.Accept != nil && c.Accept(c.Name, address, e.Fingerprint) {
				return c.appendKnownHost(address, key)
			}
		}
		return e
	}
}

func where(k knownhosts.KnownKey) string { return fmt.Sprintf("%s:%d", k.Filename, k.Line) }

// appendKnownHost appends an accepted key to the first known_hosts file.
func (c *SSHConfig) appendKnownHost(address string, key ssh.PublicKey) error {
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

// knownAlgorithms returns the algorithms of the host's keys in known_hosts, since a host
// has several keys and one that is not listed would look changed. Nil means all.
func knownAlgorithms(check ssh.HostKeyCallback, address string, port int) []string {
	addr := net.JoinHostPort(address, fmt.Sprint(port))
	e, ok := errors.AsType[*knownhosts.KeyError](check(addr, &net.TCPAddr{IP: net.IPv4zero, Port: port}, unknownKey{}))
	if !ok || len(e.Want) == 0 {
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

// unknownKey is a key that no file lists.
type unknownKey struct{}

func (unknownKey) Type() string                        { return "none" }
func (unknownKey) Marshal() []byte                     { return []byte("none") }
func (unknownKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
