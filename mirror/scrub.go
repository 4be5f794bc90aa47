package mirror

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

// watchEvery is the time between two looks at the bundle files without a request.
const watchEvery = 2 * time.Second

// scrubber hashes all blobs in the background.
type scrubber struct {
	blobs []*blob // in the order of the files

	bytes    atomic.Int64 // hashed so far, for requests too
	passes   atomic.Int64
	lastPass atomic.Int64 // end of the last whole pass, Unix seconds
}

// Verify hashes every blob as fast as possible. The error joins a
// *bundle.ArtifactError for each damaged one and wraps bundle.ErrVerify. From then
// on requests for a damaged blob get status 500.
func (m *Mirror) Verify(ctx context.Context) error { return m.pass(ctx, m.scrub.blobs, 0) }

// Scrub hashes all blobs of local files at a low rate, again and again, until ctx is
// done. It starts again if a bundle file changes, and pauses while requests wait for
// blobs to be hashed. Blobs of a registry are hashed when they arrive.
func (m *Mirror) Scrub(ctx context.Context) {
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	local := slices.DeleteFunc(slices.Clone(m.scrub.blobs), func(b *blob) bool { return !b.local })
	for {
		pass, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		generation := m.watch.generation.Load()
		go func() { done <- m.pass(pass, local, m.options.ScrubRate) }()
		m.await(ctx, watch.C, done, generation)
		stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// await returns when the next pass is due: ScrubEvery after the end of this one,
// or at once if a file changed since generation.
func (m *Mirror) await(ctx context.Context, watch <-chan time.Time, done <-chan error, generation int64) {
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
			// An error to look at a file is one to read it, which the pass finds.
			if now, err := m.watch.look(); err == nil && now != generation {
				return
			}
		}
	}
}

// pass hashes blobs once at rate bytes per second, or without limit if rate is 0.
func (m *Mirror) pass(ctx context.Context, blobs []*blob, rate int64) error {
	var errs []error
	for _, b := range blobs {
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
	generation, err := m.watch.look()
	if err == nil {
		err = m.watch.settle(ctx)
	}
	if err == nil {
		err = m.hash(ctx, b, rate)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return b.judge(generation, err)
}

func (m *Mirror) hash(ctx context.Context, b *blob, rate int64) error {
	release, err := reader.Hold(ctx, b.data, 0)
	if err != nil {
		return err
	}
	defer release()
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
		for rate > 0 && m.urgent.running.Load() > 0 {
			if err := sleep(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
}

// pause waits until n bytes are due at rate bytes per second; reading them took the
// given part of that time. A rate of 0 has no limit.
func pause(ctx context.Context, rate int64, n int, took time.Duration) error {
	if rate <= 0 {
		return ctx.Err()
	}
	return sleep(ctx, time.Duration(float64(n)/float64(rate)*float64(time.Second))-took)
}
