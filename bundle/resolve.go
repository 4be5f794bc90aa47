package bundle

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
)

// ResolveOptions say with what a Manifest is resolved.
type ResolveOptions struct {
	// Client talks to upstreams; it already knows the rewrites of flags and file.
	Client *fetch.Client
	// Store takes what has to be downloaded to know its digest, and what is ours.
	Store *store.Store
	// Created goes into the Lock; it is cut to whole seconds, UTC.
	Created time.Time
	// SelfBinaries are the offk8s binaries by architecture; one for every
	// architecture of the bundle is needed, static ELF.
	SelfBinaries map[string]string
	// Offk8sVersion names them and the smoke image ("0.1.0").
	Offk8sVersion string
	// RequirePinned refuses what no digest or signature vouches for (first use)
	// with an error of class ErrPolicy.
	RequirePinned bool
	// HostRoot is where the packing machine's own apt configuration and
	// os-release are looked up; empty means "/".
	HostRoot string
	Progress fetch.Progress // nil: none
	Log      *slog.Logger   // nil: none
}

// Resolve turns m into the exact list of artifacts, with cat as the knowledge of
// upstream. Every problem of the input is reported, joined, not only the first.
// Artifacts without a digest in cat are looked up or downloaded once and
// recorded as first use.
func Resolve(ctx context.Context, m manifests.Manifest, cat *manifests.Catalog, o ResolveOptions) (*manifests.Lock, error) {
	return nil, errors.New("resolve: under construction")
}
