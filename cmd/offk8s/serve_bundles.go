package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/registry"
	"github.com/offk8s/offk8s/mirror"
)

// served are open bundles and the mirror of them.
type served struct {
	bundles []*bundle.Bundle
	mirror  *mirror.Mirror
}

func (s *served) close() error {
	var errs []error
	if s.mirror != nil {
		s.mirror.Close()
	}
	for _, b := range s.bundles {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// openServed opens the bundles of serve: the files, those that are bases of others with
// them, then those of registries. Its mirror is not made yet.
func (r *reloader) openServed(ctx context.Context) (*served, error) {
	trust := r.options.trust
	chains, err := r.app.chains(ctx, trust, r.bundles.paths)
	if err != nil {
		return nil, err
	}
	var opens []func() (*bundle.Bundle, error)
	for _, chain := range chains {
		opens = append(opens, func() (*bundle.Bundle, error) { return r.app.openBundle(ctx, trust, chain) })
	}
	for _, address := range r.options.from {
		opens = append(opens, func() (*bundle.Bundle, error) { return r.openPushed(ctx, address) })
	}
	s := &served{}
	for _, open := range opens {
		b, err := open()
		if err == nil {
			s.bundles = append(s.bundles, b)
			err = b.Whole()
		}
		if err == nil {
			err = b.Lock().CheckAge(time.Now())
			if !trust.fresh {
				err = nil // the server warns
			}
		}
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// chains returns for each bundle that is no base of another its path and those of its
// bases.
func (a *app) chains(ctx context.Context, o trustOptions, paths []string) ([][]string, error) {
	if len(paths) == 1 {
		return [][]string{paths}, nil
	}
	byRoot, next, based := map[digest.Digest]string{}, map[string]digest.Digest{}, map[digest.Digest]bool{}
	roots := map[string]digest.Digest{}
	for _, path := range paths {
		b, err := a.openBundle(ctx, o, []string{path})
		if err != nil {
			return nil, err
		}
		base, delta := b.Base()
		if delta {
			next[path], based[base.Root] = base.Root, true
		}
		if byRoot[b.Root()] == "" || !delta { // the whole bundle has the root of the delta
			byRoot[b.Root()] = path
		}
		roots[path] = b.Root()
		if err := b.Close(); err != nil {
			return nil, err
		}
	}
	var out [][]string
	for _, path := range paths {
		if based[roots[path]] {
			continue
		}
		chain := []string{path}
		for root, ok := next[path]; ok && byRoot[root] != ""; root, ok = next[byRoot[root]] {
			chain = append(chain, byRoot[root])
		}
		out = append(out, chain)
	}
	return out, nil
}

// lookEvery is the time between two looks at the files of serve, askEvery that between
// two questions to a registry.
const (
	lookEvery = 2 * time.Second
	askEvery  = 30 * time.Second
)

// reloader replaces the files of a running serve: the bundles, the certificate and
// the access log.
type reloader struct {
	app         *app
	options     serveOptions
	mirror      mirror.Options // of further mirrors
	bundles     watchedFiles
	cache       *registry.Cache // of bundles in registries, nil if there are none
	pushed      map[string]digest.Digest
	askEvery    time.Duration
	certificate watchedFiles
	next        chan mirror.Next
	hangup      chan os.Signal
	current     *served
}

// newReloader returns a reloader for bundles that are opened after it was made, so
// that it notices every change. From now on SIGHUP does not end the process.
func newReloader(a *app, o serveOptions, paths []string) *reloader {
	r := &reloader{
		app: a, options: o, bundles: watchFiles(paths),
		pushed: map[string]digest.Digest{}, askEvery: askEvery,
		next: make(chan mirror.Next), hangup: make(chan os.Signal, 1),
	}
	if o.certFile != "" {
		r.certificate = watchFiles([]string{o.certFile, o.keyFile})
	}
	signal.Notify(r.hangup, syscall.SIGHUP)
	return r
}

// during reloads while serve runs. others reload the certificate and then the rest.
func (r *reloader) during(ctx context.Context, others []func() error, serve func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer signal.Stop(r.hangup)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.run(ctx, others)
	}()
	err := serve(ctx)
	stop()
	<-ended
	return err
}

// run reloads on SIGHUP and if watched files were replaced, until ctx is done.
func (r *reloader) run(ctx context.Context, others []func() error) {
	look, ask, daily := time.NewTicker(lookEvery), time.NewTicker(r.askEvery), time.NewTicker(24*time.Hour)
	defer look.Stop()
	defer ask.Stop()
	defer daily.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
			r.reload(others...)
			if r.bundles.look() != unchangedFiles || len(r.options.from) > 0 {
				r.replace(ctx)
			}
		case <-daily.C:
			r.reload(others[0]) // a certificate that ends soon is issued again
		case <-look.C:
			if r.certificate.look() == settledFiles {
				r.certificate.taken()
				r.reload(others[0])
			}
			if r.options.watch && r.bundles.look() == settledFiles {
				r.replace(ctx)
			}
		case <-ask.C:
			if r.options.watch && r.pushedAnother(ctx) {
				r.replace(ctx)
			}
		}
	}
}

func (r *reloader) reload(what ...func() error) {
	for _, f := range what {
		if err := f(); err != nil {
			r.app.log().Error("not reloaded; what was loaded before stays", "error", err)
		}
	}
}

// replace opens the bundles again and passes them to the server. If they cannot be
// served, the ones before stay.
func (r *reloader) replace(ctx context.Context) {
	r.bundles.taken()
	fresh, err := r.openServed(ctx)
	if err == nil {
		if fresh.mirror, err = newMirror(fresh.bundles, r.mirror); err != nil {
			err = errors.Join(err, fresh.close())
		}
	}
	if err != nil {
		r.app.log().Error("the bundles were not replaced; the ones before are still served", "error", err)
		return
	}
	old := r.current
	n := mirror.Next{Mirror: fresh.mirror, Done: func() {
		if err := old.close(); err != nil {
			r.app.log().Error("close a bundle that was replaced", "error", err)
		}
	}}
	select {
	case r.next <- n:
	case <-ctx.Done():
		_ = fresh.close() // nothing was read from it
		return
	}
	r.current = fresh
	for _, b := range fresh.bundles {
		r.app.notef("now serving %q, root %s", b.Path(), b.Root())
	}
}

// watchedFiles notices when one of several files was replaced.
type watchedFiles struct {
	paths            []string
	opened, lastLook map[string]fileStamp
}

// fileStamp differs between two files at a path and after a write.
type fileStamp struct {
	device, inode uint64
	size          int64
	changed       syscall.Timespec
}

// fileState is the result of a look at watchedFiles.
type fileState int

const (
	unchangedFiles fileState = iota // they are those that are open
	changingFiles                   // they differ from the last look, or one is missing
	settledFiles                    // they are new, and the same at two looks
)

func watchFiles(paths []string) watchedFiles {
	w := watchedFiles{paths: paths, lastLook: stampsOf(paths)}
	w.taken()
	return w
}

// look compares the files with those that were taken and with the last look.
func (w *watchedFiles) look() fileState {
	before := w.lastLook
	w.lastLook = stampsOf(w.paths)
	switch {
	case maps.Equal(w.lastLook, w.opened):
		return unchangedFiles
	case !maps.Equal(w.lastLook, before) || slices.Contains(slices.Collect(maps.Values(w.lastLook)), fileStamp{}):
		return changingFiles
	}
	return settledFiles
}

// taken records that the files of the last look are open from now on, or refused.
func (w *watchedFiles) taken() { w.opened = w.lastLook }

// stampsOf returns the stamps of the files at paths, and of all parts of a bundle in
// parts. That of a missing file is zero.
func stampsOf(paths []string) map[string]fileStamp {
	stamps := make(map[string]fileStamp, len(paths))
	for _, path := range paths {
		_, files, err := bundle.Locate(path)
		if err != nil {
			files = []string{path}
		}
		for _, file := range files {
			var st syscall.Stat_t
			stamps[file] = fileStamp{}
			if syscall.Stat(file, &st) == nil {
				stamps[file] = fileStamp{uint64(st.Dev), st.Ino, st.Size, st.Ctim}
			}
		}
	}
	return stamps
}
