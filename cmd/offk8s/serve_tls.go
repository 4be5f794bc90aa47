package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror"
)

// serverCert is the TLS configuration of the mirror.
type serverCert struct {
	config      *tls.Config // nil for plain HTTP
	ca          []byte      // PEM of the mirror's CA
	fingerprint string
	reload      func() error // loads or issues the certificate again
	clients     func() error // loads --client-ca again
}

// tls loads the certificate of --tls-cert, or opens the mirror's CA, which the
// first start creates.
func (o serveOptions) tls(addr net.Addr) (serverCert, error) {
	if o.plainHTTP {
		return serverCert{reload: nothing, clients: nothing}, nil
	}
	var current atomic.Pointer[tls.Certificate]
	c := serverCert{config: &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
	}}
	c.clients = o.clientAuthority(c.config)
	if err := c.clients(); err != nil {
		return serverCert{}, err
	}
	if o.certFile != "" {
		c.reload = func() error {
			pair, err := o.userCertificate()
			if err == nil {
				current.Store(&pair)
			}
			return err
		}
		return c, c.reload()
	}
	own, err := o.mirrorCA(addr)
	if err != nil {
		return serverCert{}, err
	}
	current.Store(&own.Certificate)
	c.ca, c.fingerprint = own.CA, own.Fingerprint
	c.reload = func() error {
		again, err := o.mirrorCA(addr)
		if err == nil && again.Fingerprint != own.Fingerprint {
			err = fmt.Errorf("the CA in --state is another one now, %s: restart serve to use it", again.Fingerprint)
		}
		if err == nil {
			current.Store(&again.Certificate)
		}
		return err
	}
	return c, nil
}

// nothing reloads what is not there.
func nothing() error { return nil }

// clientAuthority makes config want a certificate of --client-ca, if it is given, and returns a
// function that loads its file: the first time, and again for the handshakes after it.
func (o serveOptions) clientAuthority(config *tls.Config) func() error {
	if o.clientCA == "" {
		return nothing
	}
	var current atomic.Pointer[tls.Config]
	base := config.Clone()
	base.ClientAuth = tls.RequireAndVerifyClientCert
	// A connection that resumes an earlier one is verified with these authorities too.
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Load(), nil }
	return func() error {
		pool, err := readPool(o.clientCA)
		if err != nil {
			return usagef("--client-ca: %w", err)
		}
		next := base.Clone()
		next.ClientCAs = pool
		current.Store(next)
		return nil
	}
}

// userCertificate loads the files of --tls-cert and --tls-key.
func (o serveOptions) userCertificate() (tls.Certificate, error) {
	if err := privateFile("--tls-key", o.keyFile); err != nil {
		return tls.Certificate{}, err
	}
	c, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
	if err != nil {
		return tls.Certificate{}, usagef("--tls-cert, --tls-key: %w", err)
	}
	return c, nil
}

// stateDir returns the directory of --state.
func (o serveOptions) stateDir() string { return cmp.Or(o.state, filepath.Join(stateDir(), "mirror")) }

// mirrorCA opens or creates the CA in --state and a certificate for the names of
// this machine and those of the flags.
func (o serveOptions) mirrorCA(addr net.Addr) (pki.MirrorTLS, error) {
	dir := o.stateDir()
	names := o.names
	if u, err := url.Parse(o.publicURL); err == nil {
		names = append(slices.Clone(names), u.Hostname())
	}
	names, err := serverNames(addr, names)
	if err != nil {
		return pki.MirrorTLS{}, err
	}
	own, err := pki.MirrorCA(dir, names, time.Now())
	if err != nil {
		return pki.MirrorTLS{}, fmt.Errorf("serve: mirror CA in %q: %w", dir, err)
	}
	return own, nil
}

// checkNames returns an error for a --name that no certificate can have.
func (o serveOptions) checkNames() error {
	var errs []error
	for _, name := range o.names {
		if !manifests.IsSAN(bare(name)) {
			errs = append(errs, withHint(usagef("--name %q: want a DNS name, *.NAME or an address", name),
				"without scheme and port, for example mirror.example or 10.0.0.5"))
		}
	}
	return errors.Join(errs...)
}

// bare returns a name of --name as certificates have it: in lower case, and without the
// brackets of an IPv6 literal.
func bare(name string) string { return strings.ToLower(strings.Trim(name, "[]")) }

// readPool reads the certificates of a PEM file.
func readPool(name string) (*x509.CertPool, error) {
	b, err := readInput(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%q: no certificate in PEM form", name)
	}
	return pool, nil
}

// passwords returns the users of --htpasswd, nil without it, and a function that reads
// the file again.
func (o serveOptions) passwords() (*mirror.Passwords, func() error, error) {
	if o.htpasswd == "" {
		return nil, nothing, nil
	}
	p := mirror.NewPasswords()
	read := func() error {
		if err := privateFile("--htpasswd", o.htpasswd); err != nil {
			return err
		}
		text, err := readInput(o.htpasswd)
		if err == nil {
			err = p.Load(text)
		}
		if err != nil {
			return withHint(usagef("--htpasswd %q: %w", o.htpasswd, err), "htpasswd -B -c FILE USER makes one")
		}
		return nil
	}
	return p, read, read()
}

// privateFile returns an error if others can read the file of flag.
func privateFile(flag, name string) error {
	st, err := os.Stat(name)
	if err != nil {
		return usagef("%s: %w", flag, err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return withHint(usagef("%s %q: mode %#o lets others read it", flag, name, st.Mode().Perm()), "chmod 600 %s", name)
	}
	return nil
}

// serverNames returns the names and addresses for the certificate: the listening
// address, or all addresses of this machine if it listens on all, or on none yet.
func serverNames(addr net.Addr, extra []string) ([]string, error) {
	names := []string{"localhost", "127.0.0.1"}
	for _, name := range extra {
		names = append(names, bare(name))
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("serve: %q is not a TCP address", addr)
	}
	if len(tcp.IP) > 0 && !tcp.IP.IsUnspecified() {
		return unique(append(names, tcp.IP.String())), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, errors.Join(errors.New("serve: this machine's addresses"), err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			names = append(names, ip.IP.String())
		}
	}
	return unique(names), nil
}

func unique(in []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range in {
		if s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
