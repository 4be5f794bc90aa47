package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/mirror"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	trust     trustOptions
	listen    string
	metrics   string
	state     string
	names     []string
	publicURL string
	certFile  string
	keyFile   string
	plainHTTP bool
	verify    bool
}

func (a *app) serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve [BUNDLE]",
		Short: "Serve a bundle as file, yum, apt and registry mirror",
		Long: `Serves a bundle straight from the tarball: nothing is unpacked or copied. Signature,
index and structure are checked before the first request. Every blob is hashed before
it is first sent, and again after the tarball changed; a bad one answers 500. All
blobs are also hashed in the background, with --verify before the first request.

TLS is on by default. The first start creates a CA for this mirror in --state and
prints its fingerprint, for cluster.yaml. Without a BUNDLE, serve uses the only one
in the current directory.

Exit status: 0 stopped by a signal; 4 the bundle is bad; 5 it is not signed by a known
key, or it has expired (with --require-fresh).`,
		Example: `  offk8s serve --key offk8s.pub b.tar
  offk8s serve --key offk8s.pub --listen 0.0.0.0:8443 --state /var/lib/offk8s-mirror b.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.serve(cmd.Context(), o, args) },
	}
	o.trust.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", ":8443", "address to listen on")
	f.StringVar(&o.metrics, "metrics", "", "loopback address for /metrics and /debug/pprof/ (default off)")
	f.StringVar(&o.state, "state", "", "directory of the mirror's CA and certificate (default $XDG_STATE_HOME/offk8s/mirror)")
	f.StringSliceVar(&o.names, "name", nil, "more host names or addresses for the certificate")
	f.StringVar(&o.publicURL, "public-url", "", "URL that clients use, if it differs from the listening address")
	f.StringVar(&o.certFile, "tls-cert", "", "serve with this certificate instead of one by the mirror's CA")
	f.StringVar(&o.keyFile, "tls-key", "", "private key of --tls-cert")
	f.BoolVar(&o.plainHTTP, "insecure-plain-http", false, "serve without TLS")
	f.BoolVar(&o.verify, "verify", false, "hash every blob before the first request")
	return cmd
}

func (a *app) serve(ctx context.Context, o serveOptions, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	b, err := a.openBundle(ctx, o.trust, args)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Lock().CheckAge(time.Now()); err != nil && o.trust.fresh {
		return err // without --require-fresh the server warns
	}
	l, err := listen(ctx, "--listen", o.listen)
	if err != nil {
		return err
	}
	defer l.Close()
	cert, err := o.tls(l.Addr())
	if err != nil {
		return err
	}
	base := baseURL(o, l.Addr())
	m, err := newMirror(b, mirror.Options{PublicURL: o.publicURL, CA: cert.ca, Log: a.log()})
	if err != nil {
		return err
	}
	defer m.Close()
	server := &mirror.Server{Mirror: m, Listeners: []net.Listener{l}, TLS: cert.config, VerifyFirst: o.verify}
	if o.metrics != "" {
		if server.Admin, err = listen(ctx, "--metrics", o.metrics); err != nil {
			return err
		}
	}
	if o.plainHTTP {
		a.warnf("serving without TLS: clients cannot tell this mirror from another one")
	}
	if err := a.announce(b, m, base, cert.fingerprint); err != nil {
		return err
	}
	if err := server.Run(ctx); err != nil {
		return err
	}
	a.notef("stopped")
	return nil
}

// check returns an error for flags that do not make sense together or alone.
func (o serveOptions) check() error {
	var errs []error
	addresses := map[string]string{"--listen": o.listen}
	if o.metrics != "" {
		addresses["--metrics"] = o.metrics
	}
	for flag, address := range addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, withHint(usagef("%s %q: want HOST:PORT", flag, address), "for example :8443, 10.0.0.5:8443 or [fd00::5]:8443"))
		}
	}
	if o.publicURL != "" {
		if err := mirror.CheckURL(o.publicURL); err != nil {
			errs = append(errs, usagef("--public-url: %w", err))
		}
	}
	switch {
	case o.keyFile == "" && o.certFile != "":
		errs = append(errs, usagef("--tls-cert needs --tls-key, its private key"))
	case o.certFile == "" && o.keyFile != "":
		errs = append(errs, usagef("--tls-key needs --tls-cert, its certificate"))
	}
	return errors.Join(errs...)
}

// listen listens on the address of a flag.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(fmt.Errorf("serve: %w", err), "is another offk8s serve running? %s HOST:PORT uses another port", flag)
	case err != nil:
		return nil, fmt.Errorf("serve: %s: %w", flag, err)
	}
	return l, nil
}

// announce prints the mirror's address and the configuration of its clients.
func (a *app) announce(b *bundle.Bundle, m *mirror.Mirror, base, fingerprint string) error {
	v := map[string]string{
		"bundle": b.Path(), "root": b.Root().String(), "signer": signerOf(b), "mirror": base, "fingerprint": fingerprint,
	}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "bundle       %s\nroot         %s\nsigner       %s\nmirror       %s\nfingerprint  %s\n\n%s\n",
			v["bundle"], v["root"], v["signer"], base, cmp.Or(fingerprint, "-"), m.ClientConfig(base))
		return err
	})
}

// serverCert is the TLS configuration of the mirror.
type serverCert struct {
	config      *tls.Config // nil for plain HTTP
	ca          []byte      // PEM of the mirror's CA
	fingerprint string
}

// tls loads the certificate of --tls-cert, or opens the mirror's CA, which the
// first start creates.
func (o serveOptions) tls(addr net.Addr) (serverCert, error) {
	switch {
	case o.plainHTTP:
		return serverCert{}, nil
	case o.certFile != "" || o.keyFile != "":
		if err := privateFile(o.keyFile); err != nil {
			return serverCert{}, err
		}
		c, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
		if err != nil {
			return serverCert{}, usagef("--tls-cert, --tls-key: %w", err)
		}
		return serverCert{config: &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}}, nil
	}
	dir := cmp.Or(o.state, filepath.Join(stateDir(), "mirror"))
	names := o.names
	if u, err := url.Parse(o.publicURL); err == nil {
		names = append(slices.Clone(names), u.Hostname())
	}
	names, err := serverNames(addr, names)
	if err != nil {
		return serverCert{}, err
	}
	own, err := pki.MirrorCA(dir, names, time.Now())
	if err != nil {
		return serverCert{}, fmt.Errorf("serve: mirror CA in %q: %w", dir, err)
	}
	return serverCert{
		config: &tls.Config{Certificates: []tls.Certificate{own.Certificate}, MinVersion: tls.VersionTLS12},
		ca:     own.CA, fingerprint: own.Fingerprint,
	}, nil
}

// privateFile returns an error if others can read the file.
func privateFile(name string) error {
	st, err := os.Stat(name)
	if err != nil {
		return usagef("--tls-key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return withHint(usagef("--tls-key %q: mode %#o lets others read it", name, st.Mode().Perm()), "chmod 600 %s", name)
	}
	return nil
}

// serverNames returns the names and addresses for the certificate: the listening
// address, or all addresses of this machine if it listens on all.
func serverNames(addr net.Addr, extra []string) ([]string, error) {
	names := []string{"localhost", "127.0.0.1"}
	for _, name := range extra {
		names = append(names, strings.Trim(name, "[]")) // of an IPv6 literal
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("serve: %q is not a TCP address", addr)
	}
	if !tcp.IP.IsUnspecified() {
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

// baseURL returns the URL to print: --public-url, or one with this machine's name.
func baseURL(o serveOptions, addr net.Addr) string {
	if o.publicURL != "" {
		return strings.TrimSuffix(o.publicURL, "/")
	}
	scheme := "https"
	if o.plainHTTP {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return scheme + "://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
