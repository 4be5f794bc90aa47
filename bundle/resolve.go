package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// ResolveOptions are the means and the policy of Resolve.
type ResolveOptions struct {
	// Client talks to upstreams; it has the rewrites of flags and file.
	Client *fetch.Client
	// Store receives artifacts that are downloaded to find their digest, and
	// files of this machine.
	Store *store.Store
	// Created is the time in the Lock, truncated to seconds, UTC.
	Created time.Time
	// SelfBinaries are the paths of static offk8s binaries by architecture, one
	// for every architecture of the bundle.
	SelfBinaries map[string]string
	// Offk8sVersion names them and the smoke image ("0.1.0").
	Offk8sVersion string
	// Require refuses artifacts without this evidence with errors of class ErrPolicy.
	Require Require
	// ImageSigners are as in PackOptions.
	ImageSigners []ImageSigner
	// MetadataOnly leaves out the download of files whose digest only a download shows.
	// Pack cannot use the Lock then.
	MetadataOnly bool
	// HostRoot is the directory with the apt configuration and os-release of the
	// packing machine; empty means "/".
	HostRoot string
	Progress fetch.Progress // nil: none
	Log      *slog.Logger   // nil: none
}

// Resolve turns m into the exact list of artifacts, with sources from cat.
// The error joins all problems, not only the first. Problems of the input are of
// class ErrInput and are found before the network is used. Artifacts without a
// digest in cat are looked up or downloaded once and recorded as first use.
func Resolve(ctx context.Context, m manifests.Manifest, cat *catalog.Catalog, o ResolveOptions) (*manifests.Lock, error) {
	r := newResolver(m, o)
	r.settle(cat)
	r.planAddons(cat)
	r.planFiles()
	r.planSelf(ctx)
	r.planImages()
	r.planExtraFiles(ctx)
	r.planCharts()
	r.errs = append(r.errs, r.o.Require.refusals(r.lock, r.o.ImageSigners)...)
	if err := r.failed(ctx); err != nil {
		return nil, inputFailure(err)
	}
	r.env = newEnv(r.o.Client, r.o.Store, r.lock, o.SelfBinaries)
	r.reach(ctx)
	if err := r.failed(ctx); err != nil {
		return nil, err
	}
	r.charts(ctx)
	r.errs = append(r.errs, r.o.Require.refusals(r.lock, r.o.ImageSigners)...) // of their images
	r.firstUse(ctx)
	r.attachments(ctx)
	r.smokeImage(ctx)
	r.packages(ctx)
	if err := r.failed(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(r.lock.Artifacts, manifests.CompareArtifacts)
	if err := r.lock.Validate(); err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	return r.lock, nil
}

// resolver is the state of one Resolve.
type resolver struct {
	m    manifests.Manifest
	o    ResolveOptions
	env  fetch.Env
	lock *manifests.Lock
	errs []error
	pins map[string]digest.Digest // of the images in the Lock, by name
}

func newResolver(m manifests.Manifest, o ResolveOptions) *resolver {
	r := &resolver{m: m, o: o, pins: map[string]digest.Digest{}}
	if r.o.Progress == nil {
		r.o.Progress = fetch.Silent()
	}
	if r.o.Log == nil {
		r.o.Log = slog.New(slog.DiscardHandler)
	}
	return r
}

// fail records a problem with one artifact or setting.
func (r *resolver) fail(what string, err error) {
	r.errs = append(r.errs, &ArtifactError{Op: "resolve", Artifact: what, Err: classify(err)})
}

func (r *resolver) failed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("resolve: %w", err)
	}
	return errors.Join(r.errs...)
}

// reach looks for hosts that cannot be reached before any work is done.
func (r *resolver) reach(ctx context.Context) {
	client, err := withHostArchives(r.o.Client, r.lock, r.o.HostRoot)
	if err != nil {
		client = r.o.Client // packages reports it
	}
	r.errs = append(r.errs, reach(ctx, client, r.env, r.lock, append(repositoriesOf(r.lock), chartRepositories(r.m)...))...)
}

func (r *resolver) add(a manifests.Artifact) { r.lock.Artifacts = append(r.lock.Artifacts, a) }

// newEnv returns the environment of the fetchers for Resolve and Pack.
func newEnv(c *fetch.Client, s *store.Store, lock *manifests.Lock, self map[string]string) fetch.Env {
	return fetch.Env{
		Client: c, Store: s, Arches: lock.Arches, SelfBinaries: self, Keyring: packageKeyring(lock),
		Compress: func(w io.Writer) (io.WriteCloser, error) { return NewZstdWriter(w) },
		Encoding: zstdEncoding,
	}
}

// zstdEncoding names the output of NewZstdWriter. It must change if the settings
// or the output of a new encoder change, so that records of the store are not
// used any more.
const zstdEncoding = "zstd-1"

// classify marks wrong content from upstream as ErrVerify, so that a replaced
// file and a broken connection have different exit codes.
func classify(err error) error {
	if errors.Is(err, fetch.ErrMismatch) || errors.Is(err, store.ErrDigest) ||
		errors.Is(err, metadata.ErrAltered) || isSignature(err) {
		return verifyFailure(err)
	}
	return err
}

// settle applies the defaults of the catalog and fills in the head of the Lock.
func (r *resolver) settle(cat *catalog.Catalog) {
	r.lock = &manifests.Lock{
		APIVersion: manifests.APIVersion, Kind: manifests.KindLock,
		Name: r.m.Name, Sequence: max(r.m.Sequence, 1), Expires: r.m.Expires,
		Created:    r.o.Created.UTC().Truncate(time.Second),
		DistroData: map[string]catalog.Distro{},
	}
	release, err := cat.Release(r.m.Kubernetes)
	if err != nil {
		r.fail("kubernetes", err)
		return
	}
	l := r.lock
	l.Release, l.Kubernetes, l.Minor = release, strings.TrimPrefix(release.Version, "v"), release.Minor
	if l.Name == "" {
		l.Name = "kubernetes-" + l.Minor
	}
	l.Arches = sortedOr(goArches(r.m.Arches), release.Defaults.Arches)
	l.Distros = sortedOr(r.m.Distros, release.Defaults.Distros)
	l.CNI, l.Runtime = r.m.CNI, r.m.Runtime
	if r.m.AssumeInstalled == manifests.AssumeMinimal {
		l.AssumeInstalled = manifests.AssumeMinimal
	}
	if l.CNI == "" {
		l.CNI = release.Defaults.CNI
	}
	if l.Runtime == "" {
		l.Runtime = release.Defaults.Runtime
	}
	if have := release.Runtimes(); !slices.Contains(have, l.Runtime) {
		r.fail("runtime", fmt.Errorf("kubernetes %s runs with %s, not with %q", l.Minor, strings.Join(have, " or "), l.Runtime))
	}
	if l.Runtime != manifests.RuntimeDocker { // a bundle with docker has containerd too, which clusters can use
		l.Release.Components = slices.DeleteFunc(slices.Clone(release.Components), func(d catalog.Download) bool {
			return d.Name == manifests.RuntimeDocker
		})
	}
	cni, err := cat.CNI(l.CNI)
	if err == nil {
		l.CNIRelease, err = cni.For(l.Minor)
	}
	if err != nil {
		r.fail("cni", err)
	}
	for _, name := range l.Distros {
		r.settleDistro(cat, name)
	}
}

func (r *resolver) settleDistro(cat *catalog.Catalog, name string) {
	d, err := cat.Distro(name)
	if err != nil {
		r.fail("distros", err)
		return
	}
	warnings, err := r.lock.Release.Fit(d, r.lock.Runtime)
	if err != nil {
		r.fail(name, err)
	}
	for _, w := range warnings {
		r.o.Log.Warn(w)
	}
	if path := r.m.Keyrings[name]; path != "" {
		if err := addUserKeyring(&d, path); err != nil {
			r.fail("keyring of "+name, err)
		}
	}
	if len(distroArches(d, r.lock.Arches)) == 0 {
		r.fail(name, fmt.Errorf("has packages for %s only, the bundle is for %s",
			strings.Join(d.Arches, ", "), strings.Join(r.lock.Arches, ", ")))
	}
	if r.lock.AssumeInstalled != "" && len(d.Minimal) == 0 {
		r.fail(name, fmt.Errorf("the catalog does not name the packages of a %s installation of it", r.lock.AssumeInstalled))
	}
	r.lock.DistroData[name] = d
}

// distroArches returns the architectures that both the bundle and the distro
// have. In a bundle of several distros one may lack an architecture.
func distroArches(d catalog.Distro, arches []string) []string {
	var out []string
	for _, a := range arches {
		if len(d.Arches) == 0 || slices.Contains(d.Arches, a) {
			out = append(out, a)
		}
	}
	return out
}

// sortedOr returns want without duplicates, or def if want is empty.
func sortedOr(want, def []string) []string {
	if len(want) == 0 {
		want = def
	}
	out := slices.Clone(want)
	slices.Sort(out)
	return slices.Compact(out)
}
