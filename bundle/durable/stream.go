package durable

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// streamWindow is a multiple of every page size, in bytes.
const streamWindow = 16 << 20

// Stream is a file that is written from its start to its end. While it is written, the
// kernel writes it to the device and forgets it, so that Sync has little left to wait
// for, and a large file does not push everything else out of memory.
type Stream struct {
	*os.File
	written int64
	begun   int64 // up to here the kernel writes to the device
	settled int64
	never   bool // the file system cannot do it
}

func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	s.written += int64(n)
	if err == nil && s.written-s.begun >= streamWindow && !s.never {
		err = s.advance()
	}
	return n, err
}

// advance begins with one window, and waits for the one before.
func (s *Stream) advance() error {
	next := s.written - s.written%streamWindow
	err := s.writeBack(s.begun, next, unix.SYNC_FILE_RANGE_WRITE)
	if err == nil && s.begun > s.settled {
		err = s.writeBack(s.settled, s.begun, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		_ = unix.Fadvise(int(s.Fd()), s.settled, s.begun-s.settled, unix.FADV_DONTNEED)
		s.settled = s.begun
	}
	s.begun = next
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ESPIPE) {
		s.never, err = true, nil
	}
	return err
}

// writeBack returns errors of the device: the kernel reports each only once, so Sync
// would not know of it.
func (s *Stream) writeBack(from, to int64, flags int) error {
	if err := unix.SyncFileRange(int(s.Fd()), from, to-from, flags); err != nil {
		return &fs.PathError{Op: "sync", Path: s.Name(), Err: err}
	}
	return nil
}
