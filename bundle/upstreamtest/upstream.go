// Package upstreamtest is a small world of upstreams in one HTTP server: release
// archives, a container registry, a yum repository and an apt archive, all
// signed and all made of deterministic bytes, with the catalog that goes with
// them. Tests and `make demo` pack from it without a network.
package upstreamtest

import (
	"errors"
	"testing"

	"github.com/offk8s/offk8s/manifests"
)

// Upstream is a running set of upstreams.
type Upstream struct {
	URL string // "http://127.0.0.1:port"
}

// Start starts the upstreams on loopback; t may be nil, and then Close must be called.
func Start(t testing.TB) (*Upstream, error) { return nil, errors.New("under construction") }

// Rewrites returns the rewrites that lead the catalog's addresses here, for
// Manifest.Mirrors or --mirror.
func (u *Upstream) Rewrites() []manifests.Rewrite { return nil }

// WriteCatalog writes the catalog overlay (for --catalog) whose digests and keys
// are those of u: release 1.36, distributions rocky-9 and debian-12, network flannel.
func (u *Upstream) WriteCatalog(dir string) error { return errors.New("under construction") }

// Close stops the server.
func (u *Upstream) Close() {}
