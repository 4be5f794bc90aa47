package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/reader"
)

// watchEvery is the time between two checks of the bundle files for changes.
const watchEvery = 2 * time.Second

// scrubber hashes blobs in the background and watches the files of the bundles.
type scrubber struct {
	blobs []*blob // in the order of the files
	files map[*os.File]stamp

	bytes    atomic.Int64 // hashed so far
	passes   atomic.Int64
	lastPass atomic.Int64 // end of the last whole pass, Unix seconds
	changes  atomic.Int64 // times that a bundle file changed while it was served
}

// stamp changes when a file is written to.
type stamp struct {
	size    int64
	modTime time.Time
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

func (s *scrubber) init(bundles []*bundle.Bundle, blobs []*blob) {
	s.blobs, s.files = blobs, make(map[*os.File]stamp)
	for _, b := range bundles {
		for _, d := range b.Blobs() {
			at, err := b.Extents(d)
			if err != nil {
				continue // openBlobs has opened every blob
			}
			for _, e := range at {
				if _, ok := s.files[e.File]; ok {
					continue
				}
				if info, err := e.File.Stat(); err == nil {
					s.files[e.File] = stampOf(info)
				}
			}
		}
	}
}

// Verify hashes every blob as fast as possible. The error joins a
// *bundle.ArtifactError for each damaged one and wraps bundle.ErrVerify. From then
// on requests for a damaged blob get status 500.
func (m *Mirror) Verify(ctx context.Context) error { return m.pass(ctx, 0) }

// Scrub hashes all blobs at a low rate, again and again, until ctx is done. If a
// bundle file changes, Scrub starts again, and from then on every blob is hashed
// before it is sent.
func (m *Mirror) Scrub(ctx context.Context) {
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for {
		pass, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- m.pass(pass, m.options.ScrubRate) }()
		m.await(ctx, watch.C, done)
		stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// await returns when the next pass is due: ScrubEvery after the end of this one,
// or at once if a file changed.
func (m *Mirror) await(ctx context.Context, watch <-chan time.Time, done <-chan error) {
	var next <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-done: // pass has logged its errors
			next = time.After(m.options.ScrubEvery)
			done = nil
		case <-next:
			return
		case <-watch:
			if m.changed() {
				return
			}
		}
	}
}

// changed reports whether a bundle file was written to since the last call. If so,
// all blobs become unchecked.
func (m *Mirror) changed() bool {
	found := false
	for f, before := range m.scrub.files {
		info, err := f.Stat()
		if err != nil || stampOf(info) == before {
			continue
		}
		m.scrub.files[f] = stampOf(info)
		m.log.Error("bundle file was changed while it is served; every blob is hashed before it is sent", "file", f.Name())
		found = true
	}
	if found {
		m.scrub.changes.Add(1)
		m.strict.Store(true)
		for _, b := range m.scrub.blobs {
			b.state.Store(int32(unchecked))
		}
	}
	return found
}

// pass hashes all blobs once at rate bytes per second, or without limit if rate is 0.
func (m *Mirror) pass(ctx context.Context, rate int64) error {
	var errs []error
	for _, b := range m.scrub.blobs {
		err := m.check(ctx, b, rate)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			m.log.Error("bad blob", "error", err)
			errs = append(errs, err)
		}
	}
	m.scrub.passes.Add(1)
	m.scrub.lastPass.Store(time.Now().Unix())
	return errors.Join(errs...)
}

// check hashes one blob and records the result. Errors other than that of ctx
// are *bundle.ArtifactError.
func (m *Mirror) check(ctx context.Context, b *blob, rate int64) error {
	err := m.hash(ctx, b, rate)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		b.state.Store(int32(bad))
		return &bundle.ArtifactError{Op: "serve", Artifact: b.name, Err: fmt.Errorf("%w: %w", bundle.ErrVerify, err)}
	}
	b.state.Store(int32(good))
	return nil
}

func (m *Mirror) hash(ctx context.Context, b *blob, rate int64) error {
	size := b.data.Size()
	r := reader.Verify(io.NewSectionReader(b.data, 0, size), b.digest, size)
	for buf := make([]byte, 256<<10); ; {
		start := time.Now()
		n, err := r.Read(buf)
		m.scrub.bytes.Add(int64(n))
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := pause(ctx, rate, n, time.Since(start)); err != nil {
			return err
		}
	}
}

// pause waits until n bytes are due at rate bytes per second; reading them took the
// given part of that time.
func pause(ctx context.Context, rate int64, n int, took time.Duration) error {
	if rate <= 0 {
		return ctx.Err()
	}
	due := time.Duration(float64(n)/float64(rate)*float64(time.Second)) - took
	if due <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(due)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// admit returns an error if b must not be sent because it is damaged. After a
// change of a bundle file it hashes b first.
func (m *Mirror) admit(ctx context.Context, b *blob) error {
	if b.known() == unchecked && m.strict.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.known() == unchecked {
			if err := m.check(ctx, b, 0); err != nil {
				return err
			}
		}
	}
	if b.known() == bad {
		return &bundle.ArtifactError{Op: "serve", Artifact: b.name, Err: fmt.Errorf("%w: damaged, as an earlier check found", bundle.ErrVerify)}
	}
	return nil
}
