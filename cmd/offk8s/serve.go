package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/registry"
	"github.com/offk8s/offk8s/mirror"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	trust       trustOptions
	listen      string
	metrics     string
	state       string
	names       []string
	publicURL   string
	certFile    string
	keyFile     string
	clientCA    string
	htpasswd    string
	plainHTTP   bool
	verify      bool
	watch       bool
	accessLog   string
	runs        []string
	from        []string // addresses in registries
	registry    registryOptions
	cache       string
	cacheSize   sizeFlag
	stopTimeout time.Duration
	printUnit   bool
	installUnit bool
}

const defaultCacheSize = 10 << 30 // bytes

func (a *app) serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve [BUNDLE…]",
		Short: "Serve bundles as file, yum, apt and registry mirror",
		Long: `Serves bundles straight from their tarballs: nothing is unpacked or copied. Signature,
index and structure are checked before the first request. Every blob is hashed before
it is first sent, and again after a tarball changed; a bad one answers 500. All
blobs are also hashed in the background, with --verify before the first request.

--from serves a bundle from a registry instead, so that any number of mirrors stand on
it: blobs come from there when they are needed, are hashed before a byte of them is
sent, and stay in --cache. SIGHUP looks for a newer bundle, --watch every 30 seconds.
While the registry is away, what is not in the cache answers 503.

Several bundles are served as one; install uses the first. The base of a delta is only
read, not served. If two have different
content under one name, serve names it and ends. On SIGHUP, serve opens tarballs that
were replaced (mv new.tar kubernetes-1.36.tar); --watch does so by itself. Clients that
pull from the old one get all of it. A tarball that cannot be served is logged and ignored. SIGHUP
also loads --htpasswd, --client-ca and the certificate again, which --tls-cert does
whenever its file changes, and opens the access log again.

TLS is on by default. The first start creates a CA for this mirror in --state and
prints its fingerprint, for cluster.yaml. Without a BUNDLE, serve uses the only one
in the current directory.

Requests with status 404 and 5xx are logged on stderr, with -v all; --access-log has
all as JSON. The page /now shows the transfers, and with --runs, to everybody who
reaches the mirror, the hosts and stages of a run of install. /healthz answers while
the process runs, /readyz while the bundles can be read. docs/serve.md has more, for
example serve as a service.

Exit status: 0 stopped by a signal; 4 the bundle is bad; 5 it is not signed by a known
key, or it has expired (with --require-fresh).`,
		Example: `  offk8s serve --key offk8s.pub kubernetes-1.36.tar
  offk8s serve --key offk8s.pub --listen 0.0.0.0:8443 --state /var/lib/offk8s-mirror \
    kubernetes-1.36.tar
  offk8s serve --key offk8s.pub --from oci://harbor.example/offk8s
  offk8s serve --key offk8s.pub --watch --access-log access.json \
    kubernetes-1.29.tar kubernetes-1.36.tar`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.printUnit || o.installUnit {
				return a.runUnit(cmd, o, args)
			}
			return a.serve(cmd.Context(), o, args)
		},
	}
	o.trust.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", ":8443", "address to listen on; a socket that systemd passes takes its place")
	f.StringVar(&o.metrics, "metrics", "", "loopback address for /metrics and /debug/pprof/ (default off)")
	f.StringVar(&o.state, "state", "", "directory of the mirror's CA and certificate (default $XDG_STATE_HOME/offk8s/mirror)")
	f.StringSliceVar(&o.names, "name", nil, "more host names or addresses for the certificate")
	f.StringVar(&o.publicURL, "public-url", "", "URL that clients use, if it differs from the listening address")
	f.StringVar(&o.certFile, "tls-cert", "", "serve with this certificate instead of one by the mirror's CA")
	f.StringVar(&o.keyFile, "tls-key", "", "private key of --tls-cert")
	f.StringVar(&o.clientCA, "client-ca", "", "answer only clients with a certificate of this CA")
	f.StringVar(&o.htpasswd, "htpasswd", "", "answer only clients with a user and password of this file (htpasswd -B)")
	f.BoolVar(&o.plainHTTP, "insecure-plain-http", false, "serve without TLS")
	f.BoolVar(&o.verify, "verify", false, "hash every blob before the first request")
	f.BoolVar(&o.watch, "watch", false, "serve a bundle that takes the place of an open one, without SIGHUP")
	f.StringVar(&o.accessLog, "access-log", "", "append every request as JSON to this file, - for stdout")
	f.StringArrayVar(&o.runs, "runs", nil, "show the newest run on the page /now: directory runs/ in --state of install, or a copy")
	f.DurationVar(&o.stopTimeout, "stop-timeout", 30*time.Second, "how long transfers may go on after SIGTERM")
	f.StringArrayVar(&o.from, "from", nil, "oci://REGISTRY/PREFIX[@ROOT]: serve a bundle that offk8s push wrote there")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.NoFileCompletions) // of other commands it is a host
	f.StringVar(&o.registry.ca, "from-ca", "", "authority (PEM) that issued the certificate of the registry, beside those of the system")
	f.BoolVar(&o.registry.plainHTTP, "insecure-from-plain-http", false, "accept a registry of --from without TLS")
	f.StringVar(&o.cache, "cache", "", "directory for blobs of --from, which looks empty: its files have no names (default $XDG_CACHE_HOME/offk8s/mirror)")
	o.cacheSize = defaultCacheSize
	f.Var(&o.cacheSize, "cache-size", "how much of --from to keep in --cache")
	f.BoolVar(&o.installUnit, "install-unit", false, "install and start a service of systemd, with its socket, that serves with these flags")
	f.BoolVar(&o.printUnit, "print-unit", false, "print the files of --install-unit")
	cmd.AddCommand(a.serveInitCommand())
	return cmd
}

func (a *app) serve(ctx context.Context, o serveOptions, args []string) error {
	o.trust.memory = keyMemory(o.stateDir())
	if err := o.check(); err != nil {
		return err
	}
	paths, err := o.files(args)
	if err != nil {
		return err
	}
	for _, dir := range o.runs {
		if !exists(dir) {
			a.warnf("--runs %q: is not there yet; the page /now shows its runs when it is", dir)
		}
	}
	r := newReloader(a, o, paths)
	if len(o.from) > 0 {
		if r.cache, err = registry.NewCache(cmp.Or(o.cache, filepath.Join(cacheDir(), "mirror")), int64(o.cacheSize)); err != nil {
			return asUsage(err)
		}
		defer r.cache.Close()
	}
	if r.current, err = r.openServed(ctx); err != nil {
		return err
	}
	l, err := systemdSocket(os.Getenv, firstSocket)
	if l == nil && err == nil {
		l, err = listen(ctx, "--listen", o.listen)
	}
	if err == nil {
		err = r.serveOn(ctx, l)
	}
	return errors.Join(err, r.current.close())
}

// files returns the paths of the bundles that are files.
func (o serveOptions) files(args []string) ([]string, error) {
	if len(args) == 0 && len(o.from) > 0 {
		return nil, nil
	}
	if len(args) > 0 && args[0] == "inventory" && !exists(args[0]) {
		return nil, withHint(usagef("serve inventory: there is no file of this name"), "offk8s inventory BUNDLE prints it, and a mirror has it as /bundle/inventory.json")
	}
	return findBundle(args)
}

// serveOn serves the bundles on l until ctx is done.
func (r *reloader) serveOn(ctx context.Context, l net.Listener) error {
	defer l.Close()
	a, o := r.app, r.options
	cert, err := o.tls(l.Addr())
	if err != nil {
		return err
	}
	access, reopen, err := a.openAccessLog(o.accessLog)
	if err != nil {
		return err
	}
	passwords, reread, err := o.passwords()
	if err != nil {
		return err
	}
	r.mirror = mirror.Options{PublicURL: o.publicURL, CA: cert.ca, Passwords: passwords, Log: a.log(), AccessLog: access, Runs: o.runs}
	if r.current.mirror, err = newMirror(r.current.bundles, r.mirror); err != nil {
		return err
	}
	server := &mirror.Server{
		Mirror: r.current.mirror, Next: r.next, Listeners: []net.Listener{l}, TLS: cert.config, VerifyFirst: o.verify,
		ShutdownTimeout: o.stopTimeout, Ready: a.ready,
	}
	if o.metrics != "" {
		if server.Admin, err = listen(ctx, "--metrics", o.metrics); err != nil {
			return err
		}
	}
	if o.plainHTTP {
		a.warnf("serving without TLS: clients cannot tell this mirror from another one")
	}
	if err := a.announce(r.current, baseURL(o, l.Addr()), cert.fingerprint); err != nil {
		return err
	}
	err = r.during(ctx, []func() error{cert.reload, cert.clients, reopen, reread}, server.Run)
	if err == nil {
		a.notef("stopped")
	}
	return err
}

// check returns an error for flags that do not make sense together or alone.
func (o serveOptions) check() error {
	var errs []error
	addresses := map[string]string{"--listen": o.listen}
	if o.metrics != "" {
		addresses["--metrics"] = o.metrics
	}
	for flag, address := range addresses {
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			errs = append(errs, withHint(usagef("%s %q: want HOST:PORT", flag, address), "for example :8443, 10.0.0.5:8443 or [fd00::5]:8443"))
		}
	}
	if host, _, err := net.SplitHostPort(o.metrics); err == nil && host != "localhost" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			errs = append(errs, withHint(usagef("--metrics %q: want an address of loopback, since /metrics has no password", o.metrics), "for example 127.0.0.1:9090"))
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
	if o.plainHTTP {
		for flag, value := range map[string]string{"--tls-cert": o.certFile, "--client-ca": o.clientCA, "--htpasswd": o.htpasswd} {
			if value != "" {
				errs = append(errs, usagef("%s and --insecure-plain-http exclude each other", flag))
			}
		}
	}
	for _, dir := range o.runs {
		if st, err := os.Stat(dir); err == nil && !st.IsDir() {
			errs = append(errs, usagef("--runs %q: want a directory", dir))
		}
	}
	errs = append(errs, o.checkNames(), o.checkFrom())
	if o.stopTimeout <= 0 {
		errs = append(errs, usagef("--stop-timeout %s: want more than 0", o.stopTimeout))
	}
	return errors.Join(errs...)
}

// checkFrom returns an error for flags of --from without it, and for addresses that are none.
func (o serveOptions) checkFrom() error {
	var errs []error
	for _, address := range o.from {
		if !registry.IsAddress(address) {
			errs = append(errs, usagef("--from %q: want %sREGISTRY/PREFIX", address, registry.Scheme))
		}
	}
	if len(o.from) > 0 {
		return errors.Join(errs...)
	}
	for flag, given := range map[string]bool{
		"--cache": o.cache != "", "--cache-size": o.cacheSize != defaultCacheSize,
		"--from-ca": o.registry.ca != "", "--insecure-from-plain-http": o.registry.plainHTTP,
	} {
		if given {
			errs = append(errs, usagef("%s needs --from: a tarball is served without a cache and a registry", flag))
		}
	}
	return errors.Join(errs...)
}

// listen listens on the address of a flag.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(fmt.Errorf("serve: %w", err), "is another offk8s serve running? %s HOST:PORT uses another port", flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, withHint(fmt.Errorf("serve: %w", err), "%s needs an address of this machine; :PORT listens on all of them", flag)
	case errors.Is(err, fs.ErrPermission):
		return nil, withHint(fmt.Errorf("serve: %w", err), "ports below 1024 need root or the unit of --install-unit; %s HOST:PORT uses another one", flag)
	case err != nil:
		return nil, fmt.Errorf("serve: %s: %w", flag, err)
	}
	return l, nil
}

// announcement is the result of serve, printed before the first request.
type announcement struct {
	announcedBundle                   // the first of Bundles
	Mirror          string            `json:"mirror"`      // URL
	Fingerprint     string            `json:"fingerprint"` // of its CA, for mirror.caFingerprint; - without TLS
	Bundles         []announcedBundle `json:"bundles"`
}

type announcedBundle struct {
	Bundle string `json:"bundle"` // file or reference
	Root   string `json:"root"`   // digest of index.json
	Signer string `json:"signer"` // fingerprint of the key
}

// announce prints the bundles, the mirror's address and the configuration of its
// clients.
func (a *app) announce(s *served, base, fingerprint string) error {
	v := announcement{Mirror: base, Fingerprint: fingerprint}
	for _, b := range s.bundles {
		v.Bundles = append(v.Bundles, announcedBundle{b.Path(), b.Root().String(), signerOf(b)})
	}
	v.announcedBundle = v.Bundles[0]
	return a.result(v, func(w io.Writer) error {
		var text strings.Builder
		for _, b := range v.Bundles {
			fmt.Fprintf(&text, "bundle       %s\nroot         %s\nsigner       %s\n", b.Bundle, b.Root, b.Signer)
		}
		_, err := fmt.Fprintf(w, "%smirror       %s\nfingerprint  %s\n\n%s\n", text.String(), base, cmp.Or(fingerprint, "-"), s.mirror.ClientConfig(base))
		return err
	})
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
