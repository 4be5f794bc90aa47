package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
)

// watchEvery is how often the bundle files are looked at for changes.
const watchEvery = 2 * time.Second

// scrubber hashes blobs in the background and watches the files they lie in.
type scrubber struct {
	blobs []*blob // in the order they lie on the disk
	files map[*os.File]stamp

	bytes    atomic.Int64 // hashed so far
	passes   atomic.Int64
	lastPass atomic.Int64 // end of the last whole pass, Unix seconds
	changes  atomic.Int64 // times that a bundle file was changed under us
}

// stamp tells whether a file was written to.
type stamp struct {
	size    int64
	modTime time.Time
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

func (s *scrubber) init(blobs map[digest.Digest]*blob) {
	s.files = make(map[*os.File]stamp)
	for _, b := range blobs {
		s.blobs = append(s.blobs, b)
		if b.file == nil {
			continue
		}
		if _, ok := s.files[b.file]; !ok {
			if info, err := b.file.Stat(); err == nil {
				s.files[b.file] = stampOf(info)
			}
		}
	}
	slices.SortFunc(s.blobs, func(a, b *blob) int { return strings.Compare(a.digest.String(), b.digest.String()) })
}

// Verify hashes every blob as fast as it goes. The error joins a
// *bundle.ArtifactError for each bad one and wraps bundle.ErrVerify; a bad blob
// answers 500 from then on.
func (m *Mirror) Verify(ctx context.Context) error { return m.pass(ctx, 0) }

// Scrub hashes all blobs at a low rate, again and again, until ctx is done. When
// a bundle file was changed meanwhile, it starts anew, and no blob of it is
// answered before it was hashed.
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

// await returns when the next pass is due: a day after the end of this one, or
// at once when a file was changed.
func (m *Mirror) await(ctx context.Context, watch <-chan time.Time, done <-chan error) {
	var next <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-done: // bad blobs were logged one by one
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

// changed looks at the bundle files and forgets what is known of all blobs when
// one was written to since.
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

// pass hashes all blobs once; rate is in bytes per second, 0 without bound.
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

// check hashes one blob and notes the result.
func (m *Mirror) check(ctx context.Context, b *blob, rate int64) error {
	got, err := m.hash(ctx, b, rate)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && got != b.digest:
		err = mismatch(got, b.digest)
	case err != nil:
		err = fmt.Errorf("%w: read: %w", bundle.ErrVerify, err)
	}
	if err != nil {
		b.state.Store(int32(bad))
		return &bundle.ArtifactError{Op: "serve", Artifact: b.name, Err: err}
	}
	b.state.Store(int32(good))
	return nil
}

func (m *Mirror) hash(ctx context.Context, b *blob, rate int64) (digest.Digest, error) {
	digester := b.digest.Algorithm().Digester()
	buf := make([]byte, 256<<10)
	for off := int64(0); off < b.data.Size(); {
		start := time.Now()
		part := buf[:min(int64(len(buf)), b.data.Size()-off)]
		if n, err := b.data.ReadAt(part, off); n < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		_, _ = digester.Hash().Write(part) // a hash takes everything
		off += int64(len(part))
		m.scrub.bytes.Add(int64(len(part)))
		if err := pause(ctx, rate, len(part), time.Since(start)); err != nil {
			return "", err
		}
	}
	return digester.Digest(), nil
}

// pause waits until n bytes are due at rate.
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

// admit says whether a blob may be sent: not when it is known to be bad, and
// after a change of the file under us not before it was hashed once.
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
		return &bundle.ArtifactError{Op: "serve", Artifact: b.name, Err: fmt.Errorf("%w: known to be damaged", bundle.ErrVerify)}
	}
	return nil
}
