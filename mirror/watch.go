package mirror

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/offk8s/offk8s/bundle"
)

// watcher notices changes of the bundle files. Each change begins a new
// generation, in which no result of an earlier check counts.
type watcher struct {
	log        *slog.Logger
	files      []*watched
	mu         sync.Mutex // held while a change is recorded
	generation atomic.Int64
}

type watched struct {
	file *os.File
	last atomic.Pointer[stamp]
	end  int64 // of the last blob in it
}

// stamp changes when a file is written to. Unlike the modification time, no
// program can set the change time (ctime) back.
type stamp struct {
	size              int64
	inode             uint64
	changed, modified syscall.Timespec
}

// stampOf is for every request, and makes no garbage as Stat of an os.File does.
func stampOf(f *os.File) (stamp, error) {
	var at syscall.Stat_t
	err := error(syscall.EINTR)
	for err == syscall.EINTR { // of network file systems
		err = syscall.Fstat(int(f.Fd()), &at)
	}
	runtime.KeepAlive(f)
	if err != nil {
		return stamp{}, os.NewSyscallError("fstat", err)
	}
	return stamp{at.Size, at.Ino, at.Ctim, at.Mtim}, nil
}

// newWatcher watches the files of the bundles.
func newWatcher(bundles []*bundle.Bundle, log *slog.Logger) (*watcher, error) {
	w := &watcher{log: log}
	seen := make(map[*os.File]*watched)
	for _, b := range bundles {
		for _, d := range b.Blobs() {
			at, err := b.Extents(d)
			if err != nil {
				return nil, fmt.Errorf("mirror: bundle %s: %w", b.Root(), err)
			}
			for _, e := range at {
				if f := seen[e.File]; f != nil {
					f.end = max(f.end, e.Offset+e.Size)
					continue
				}
				s, err := stampOf(e.File)
				if err != nil {
					return nil, fmt.Errorf("mirror: bundle %s: %w", b.Root(), err)
				}
				f := &watched{file: e.File, end: e.Offset + e.Size}
				seen[e.File] = f
				f.last.Store(&s)
				w.files = append(w.files, f)
			}
		}
	}
	return w, nil
}

// look compares every file with the last look at it and returns the generation.
func (w *watcher) look() (generation int64, err error) {
	for _, f := range w.files {
		s, err := stampOf(f.file)
		if err == nil && s != *f.last.Load() {
			err = w.note(f)
		}
		if err != nil {
			return 0, fmt.Errorf("look at the bundle file: %w", err)
		}
	}
	return w.generation.Load(), nil
}

// readable returns an error if a file cannot be read to the end of its last blob.
func (w *watcher) readable() error {
	if _, err := w.look(); err != nil {
		return err
	}
	for _, f := range w.files {
		if _, err := f.file.ReadAt(make([]byte, 1), max(f.end, 1)-1); err != nil {
			return fmt.Errorf("read the bundle file %q: %w", f.file.Name(), err)
		}
	}
	return nil
}

// note begins a new generation if f differs from the last look at it.
func (w *watcher) note(f *watched) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := stampOf(f.file)
	before := *f.last.Load()
	if err != nil || s == before {
		return err
	}
	// In this order: nobody may see the new stamp in the old generation.
	w.generation.Add(1)
	f.last.Store(&s)
	const again = "; every blob is hashed again before it is sent"
	if s.size == before.size && s.modified == before.modified {
		// Most likely: a new bundle takes its place, as it should.
		w.log.Info("bundle file was moved, replaced or got another mode"+again, "file", f.file.Name())
		return nil
	}
	w.log.Error("bundle file was changed while it is served"+again, "file", f.file.Name())
	return nil
}

// settle waits until a further change of a file would be seen: two changes within
// one tick of the file system's clock have the same change time.
func (w *watcher) settle(ctx context.Context) error {
	for _, f := range w.files {
		tick := 20 * time.Millisecond
		changed := time.Unix(f.last.Load().changed.Unix())
		if changed.Nanosecond() == 0 {
			tick = 2 * time.Second // of FAT, the coarsest
		}
		if err := sleep(ctx, min(time.Until(changed.Add(tick)), tick)); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
