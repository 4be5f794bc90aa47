package durable

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Stream is synced after each window of bytes. Many small syncs make a fast device slow. If
// the device is slow, a user who interrupts the program waits for the sync that runs.
const (
	leastWindow = 4 << 20
	mostWindow  = 64 << 20
	syncShort   = 150 * time.Millisecond
	syncLong    = time.Second
)

// Stream is a file that is written from its start to its end. Meanwhile its content is
// synced to the device and forgotten by the kernel, so that Sync has little left to wait
// for, and a large file does not push everything else out of memory.
type Stream struct {
	*os.File
	written int64
	begun   int64         // up to here the content is being synced
	window  int64         // bytes; 0 before the first Write
	took    time.Duration // of the last sync
	synced  chan error    // of the sync that runs; nil: none
	never   bool          // the file cannot be synced
}

func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	s.written += int64(n)
	s.window = max(s.window, leastWindow)
	if err == nil && s.written-s.begun >= s.window && !s.never {
		err = s.advance()
	}
	return n, err
}

// advance begins to sync the bytes that were written since the last time. It waits for the sync
// that runs if four windows are not on the device.
func (s *Stream) advance() error {
	if len(s.synced) < cap(s.synced) && s.written-s.begun < 3*s.window {
		return nil
	}
	if err := s.settle(); err != nil || s.never {
		return err
	}
	if s.begun > 0 {
		s.window = nextWindow(s.window, s.took)
	}
	from, to, done := s.begun, s.written, make(chan error, 1)
	s.begun, s.synced = to, done
	go func() {
		began := time.Now()
		err := s.syncData()
		_ = unix.Fadvise(int(s.Fd()), from, to-from, unix.FADV_DONTNEED)
		s.took = time.Since(began)
		done <- err
	}()
	return nil
}

// nextWindow returns the window after one whose sync took this long.
func nextWindow(window int64, took time.Duration) int64 {
	switch {
	case took < syncShort:
		return min(2*window, mostWindow)
	case took > syncLong:
		return max(window/2, leastWindow)
	}
	return window
}

// settle waits for the sync that runs, and returns its error: the kernel reports an error
// of the device only once, so that a later Sync would not know of it.
func (s *Stream) settle() error {
	if s.synced == nil {
		return nil
	}
	err := <-s.synced
	s.synced = nil
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EROFS) {
		s.never, err = true, nil
	}
	return err
}

func (s *Stream) syncData() error {
	for {
		err := unix.Fdatasync(int(s.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &fs.PathError{Op: "sync", Path: s.Name(), Err: err}
		}
	}
}

// Sync returns when all that was written is on the device.
func (s *Stream) Sync() error {
	if err := s.settle(); err != nil {
		return err
	}
	return s.File.Sync()
}

// Close returns the error of a sync that still ran.
func (s *Stream) Close() error { return errors.Join(s.settle(), s.File.Close()) }
