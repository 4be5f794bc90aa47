package main

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
)

// sources are the means of pack and lock to get content.
type sources struct {
	app      *app
	manifest manifests.Manifest
	signers  []bundle.ImageSigner
	self     map[string]string // offk8s binaries by architecture
	client   *fetch.Client
	store    *store.Store // set by lock
	progress fetch.Progress
	end      func() // of the progress
}

func (a *app) openSources(o packOptions) (*sources, error) {
	s := &sources{app: a}
	var err, signersErr, selfErr, clientErr error
	s.manifest, err = a.buildManifest(o)
	s.signers, signersErr = imageSigners(s.manifest.Signatures)
	s.self, selfErr = selfBinaries(o.self)
	s.progress, s.end = a.newProgress()
	s.client, clientErr = fetch.NewClient(fetch.Options{
		Rewrites: s.manifest.Rewrites, UserAgent: "offk8s/" + version(), Log: a.log(), Waiting: waiting(s.progress),
		AllowPrivate: o.private, LimitRate: int64(o.rate),
	})
	if err := errors.Join(err, signersErr, selfErr, clientErr); err != nil {
		s.end()
		return nil, usageError{err}
	}
	return s, nil
}

// lock opens the cache, which the caller closes, and returns the Lock of --lock, or the
// one that the Manifest resolves to.
func (s *sources) lock(ctx context.Context, o packOptions) (*manifests.Lock, error) {
	var err error
	if s.store, err = store.Open(cmp.Or(o.cache, cacheDir())); err != nil {
		return nil, err
	}
	lock, err := s.app.loadOrResolve(ctx, o, s.manifest, bundle.ResolveOptions{
		Client: s.client, Store: s.store, Created: created(), SelfBinaries: s.self, Offk8sVersion: version(),
		Require: bundle.Require(o.require), ImageSigners: s.signers, MetadataOnly: o.dryRun, Progress: s.progress, Log: s.app.log(),
	})
	if err != nil {
		_ = s.store.Close() // packError looks at the parts of err
		return nil, err
	}
	s.app.warnUnused(s.manifest.Rewrites[:len(o.rewrites)], lock)
	return lock, nil
}

// loadOrResolve reads the Lock that --lock names, or resolves the Manifest.
func (a *app) loadOrResolve(ctx context.Context, o packOptions, m manifests.Manifest, ro bundle.ResolveOptions) (*manifests.Lock, error) {
	if o.lock != "" {
		b, err := readInput(o.lock)
		if err != nil {
			return nil, usageError{err}
		}
		if err := isDocument(b, o.lock, "Lock, which pack writes beside a bundle as BUNDLE.lock.json"); err != nil {
			return nil, err
		}
		lock, err := manifests.LoadLock(b)
		if err != nil {
			return nil, usagef("lock %q: %w", o.lock, err)
		}
		if v := strings.TrimPrefix(m.Kubernetes, "v"); v != "" && v != lock.Kubernetes && v != lock.Minor {
			return nil, usagef("lock %q is of Kubernetes %s, not %s", o.lock, lock.Kubernetes, m.Kubernetes)
		}
		if other := bundle.Unlike(lock, m); len(other) > 0 {
			return nil, withHint(usagef("lock %q has something else than the flags or pack.yaml say:\n%s", o.lock, strings.Join(other, "\n")),
				"pack --lock packs the Lock and nothing else: leave these out, or resolve again without --lock")
		}
		for _, p := range m.Packages {
			if len(bundle.Why(lock, p)) == 0 {
				a.warnf("lock %q has no package called %q; pack --lock adds none", o.lock, p)
			}
		}
		return lock, nil
	}
	cat, err := loadCatalog(o.catalog)
	if err != nil {
		return nil, err
	}
	if r, err := cat.Release(m.Kubernetes); err == nil && r.EndOfLife != "" {
		if eol, err := time.Parse(time.DateOnly, r.EndOfLife); err == nil && eol.Before(time.Now()) {
			a.warnf("Kubernetes %s is out of support since %s; known vulnerabilities stay unfixed", r.Minor, r.EndOfLife)
		}
	}
	return bundle.Resolve(ctx, m, cat, ro)
}
