// Package upstreamtest is a small world of upstreams in one HTTP server: release
// archives, a container registry, yum repositories and apt archives, all signed
// and all made of deterministic bytes, with the catalog that goes with them.
// Tests and `make demo` pack from it without a network.
//
//	up, err := upstreamtest.Start(t)
//	err = up.WriteCatalog(dir)   // for Catalog.Overlay or --catalog
//	rewrites := up.Rewrites()    // for Manifest.Rewrites or --rewrite
//
// Names, addresses and structure are those of the embedded catalog; only digests
// and keys are replaced. The binaries are shell scripts that print their name,
// the packages hold one text file each, the images hold nothing that runs. The
// signing key is public, beside the code, and protects nothing. Downloads and images
// of the releases exist for the oldest and the newest minor alone.
package upstreamtest

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// Built is the time in everything that the upstreams serve.
var Built = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)

//go:embed testdata/throwaway.key
var throwawayKey []byte

// versions have made-up downloads and images: of the oldest and of the newest minor. Making
// them for every minor would slow down each test. They are the defaults of their minors in
// the overlay, so that a new patch in the catalog changes no test.
var versions = []string{"1.16.15", "1.36.3"}

// releases returns the releases of versions.
func (w *world) releases() ([]catalog.Release, error) {
	var out []catalog.Release
	for _, version := range versions {
		r, err := w.catalog.Release(version)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Upstream is a running set of upstreams. Its methods are safe for concurrent use.
type Upstream struct {
	URL string // "http://127.0.0.1:port"

	server *http.Server
	images http.Handler

	mu sync.Mutex
	world
	digests  map[string]string // of images by reference
	requests []string          // method and path
	hook     func(http.ResponseWriter, *http.Request) bool
}

// world is the initial content of all Upstreams of a process, built once because
// signing takes a while.
type world struct {
	key     *trust.KeyPair
	catalog *catalog.Catalog
	files   map[string][]byte // by host and path: "dl.k8s.io/v1.36.3/…"
}

var sharedWorld = sync.OnceValues(func() (*world, error) {
	key, err := trust.ParseKeyFile(throwawayKey, nil)
	if err != nil {
		return nil, fmt.Errorf("throwaway key: %w", err)
	}
	cat, err := catalog.Embedded()
	if err != nil {
		return nil, err
	}
	w := &world{key: key, catalog: cat, files: map[string][]byte{}}
	return w, errors.Join(w.addReleases(), w.addDistros(), w.addCharts())
})

// Start starts the upstreams on loopback. t may be nil, and then the caller
// calls Close.
func Start(t testing.TB) (*Upstream, error) {
	w, err := sharedWorld()
	if err != nil {
		return nil, fmt.Errorf("make up upstreams: %w", err)
	}
	u := &Upstream{
		world:  world{key: w.key, catalog: w.catalog, files: maps.Clone(w.files)},
		images: newRegistry(), digests: map[string]string{},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u.URL = "http://" + listener.Addr().String()
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	go func() { _ = u.server.Serve(listener) }()
	if t != nil {
		t.Cleanup(u.Close)
	}
	if err := u.addImages(); err != nil {
		u.Close()
		return nil, fmt.Errorf("fill registry: %w", err)
	}
	u.mu.Lock()
	u.requests = nil
	u.mu.Unlock()
	return u, nil
}

// Close stops the server.
func (u *Upstream) Close() { _ = u.server.Close() }

// Rewrites returns the rewrites that lead the catalog's addresses here, for
// Manifest.Rewrites or --rewrite, sorted by From.
func (u *Upstream) Rewrites() []manifests.Rewrite {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []manifests.Rewrite
	add := func(from, to string) {
		r := manifests.Rewrite{From: from, To: u.URL + "/" + to}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	for path := range u.files {
		host, rest, _ := strings.Cut(path, "/")
		if host == "apt" {
			archive, _, _ := strings.Cut(rest, "/")
			add("apt:"+archive, "apt/"+archive)
			continue
		}
		add("https://"+host, host)
	}
	for ref := range u.digests {
		registry, _, _ := strings.Cut(ref, "/")
		add(registry, registry)
	}
	slices.SortFunc(out, func(a, b manifests.Rewrite) int { return strings.Compare(a.From, b.From) })
	return out
}

// ServeHTTP answers for all upstreams.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.requests = append(u.requests, r.Method+" "+r.URL.Path)
	hook := u.hook
	u.mu.Unlock()
	if hook == nil || !hook(w, r) {
		u.Serve(w, r)
	}
}

// Serve is ServeHTTP without the hook, for hooks that only wrap the answer.
func (u *Upstream) Serve(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	body, ok := u.files[strings.TrimPrefix(r.URL.Path, "/")]
	u.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/v2/") {
		u.images.ServeHTTP(w, r)
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", Built, strings.NewReader(string(body)))
}

// Hook sets a function that sees each request first and returns true if it
// answered it, for example to cut the connection or to send other content.
func (u *Upstream) Hook(f func(http.ResponseWriter, *http.Request) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hook = f
}

// PublicKey returns the armoured key that signed the packages and their metadata.
func (u *Upstream) PublicKey() []byte { return u.key.OpenPGPPublic }

// Requests returns method and path of the requests so far, oldest first.
func (u *Upstream) Requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.requests)
}

// File returns the content at rawURL, such as a URL of the catalog, and whether
// there is any.
func (u *Upstream) File(rawURL string) ([]byte, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, ok := u.files[place(rawURL)]
	return b, ok
}

// Replace makes rawURL serve other content.
func (u *Upstream) Replace(rawURL string, content []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.put(rawURL, content)
}

func (w *world) put(rawURL string, content []byte) { w.files[place(rawURL)] = content }

// place returns the path of a URL of the catalog on this server.
func place(rawURL string) string {
	if archive, ok := strings.CutPrefix(rawURL, "apt:"); ok {
		return "apt/" + archive
	}
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	return parsed.Host + parsed.Path
}
