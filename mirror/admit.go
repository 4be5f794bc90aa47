package mirror

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/mirror/files"
)

// parallelCheck is the size in bytes from which a check of a request counts
// against the limit of parallel ones. Smaller blobs need not wait for large ones.
const parallelCheck = 1 << 20

// checking is a check of a blob that requests wait for. It continues if they give
// up, so that the next request finds the result.
type checking struct {
	done chan struct{}
	err  error // valid after done
}

// urgent runs the checks that requests wait for.
type urgent struct {
	running atomic.Int64
	slots   chan struct{}
	tasks   sync.WaitGroup
	start   func(func(context.Context)) // runs a function in the background until stop
	stop    context.CancelFunc
}

func (u *urgent) init() {
	ctx, cancel := context.WithCancel(context.Background())
	u.stop = cancel
	u.slots = make(chan struct{}, runtime.GOMAXPROCS(0))
	u.start = func(f func(context.Context)) { u.tasks.Go(func() { f(ctx) }) }
}

// close ends all checks.
func (u *urgent) close() {
	u.stop()
	u.tasks.Wait()
}

// maxRounds is how often a request waits for its blob to be hashed if the bundle
// file changes meanwhile.
const maxRounds = 3

var (
	errDamaged  = errors.New("damaged, as an earlier check found")
	errChanging = errors.New("the bundle file keeps changing")
)

// hold keeps b on this machine until release is called, so that neither its check nor the
// requests that send it have to get it twice. One that a check found bad is not fetched again.
func (m *Mirror) hold(ctx context.Context, b *blob) (release func(), err error) {
	if b.local {
		return func() {}, nil
	}
	generation, err := m.watch.look()
	if err == nil && b.known(generation) == bad {
		err = errDamaged
	}
	if err != nil {
		return nil, b.failure(err)
	}
	release, err = reader.Hold(ctx, b.data, 0)
	if err != nil && ctx.Err() == nil {
		err = b.judge(generation, err)
	}
	return release, err
}

// admit returns when b may be sent: after a check found it good. It waits for this
// check, which goes before the background scrub. unchanged looks at the bundle files; it
// returns files.ErrChanged if one changed since the check, so that the answer must not be
// completed.
func (m *Mirror) admit(ctx context.Context, b *blob) (unchanged func() error, err error) {
	for range maxRounds {
		generation := m.watch.generation.Load()
		switch b.known(generation) {
		case good:
			return func() error { return m.still(b, generation) }, nil
		case bad:
			// A file that was repaired or replaced shows it now.
			if err := m.still(b, generation); !errors.Is(err, files.ErrChanged) {
				return nil, cmp.Or(err, b.failure(errDamaged))
			}
			continue
		}
		c := m.checkNow(b)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.done:
			if c.err != nil {
				return nil, c.err
			}
		}
	}
	return nil, b.failure(errChanging)
}

// still returns an error if the bundle files are no longer those of generation.
func (m *Mirror) still(b *blob, generation int64) error {
	now, err := m.watch.look()
	if err == nil && now != generation {
		err = files.ErrChanged
	}
	if err != nil {
		return b.failure(err)
	}
	return nil
}

// checkNow starts a check of b, or returns the one that runs.
func (m *Mirror) checkNow(b *blob) *checking {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running != nil {
		return b.running
	}
	c := &checking{done: make(chan struct{})}
	b.running = c
	m.urgent.running.Add(1)
	m.urgent.start(func(ctx context.Context) {
		defer m.urgent.running.Add(-1)
		c.err = m.checkInTurn(ctx, b)
		b.mu.Lock()
		b.running = nil
		b.mu.Unlock()
		close(c.done)
	})
	return c
}

// checkInTurn hashes b without a limit of the rate. Only some large blobs are
// hashed at a time.
func (m *Mirror) checkInTurn(ctx context.Context, b *blob) error {
	if b.data.Size() >= parallelCheck {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m.urgent.slots <- struct{}{}:
			defer func() { <-m.urgent.slots }()
		}
	}
	return m.check(ctx, b, 0)
}
