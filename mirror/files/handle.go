package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
)

// maxIdle limits how many open files of one bundle wait for the next request.
const maxIdle = 64

// handles is a pool of files that were opened for sendfile, which reads at the
// position of the file: concurrent requests cannot share it.
type handles struct {
	mu     sync.Mutex
	idle   map[*os.File][]*os.File // by the file of the bundle
	closed bool
}

// origin returns the file of a section and its offset in that file, or nil if the
// section is not of a file.
func origin(r io.ReaderAt) (*os.File, int64) {
	for off := int64(0); ; {
		switch x := r.(type) {
		case *os.File:
			return x, off
		case *io.SectionReader:
			outer, base, _ := x.Outer()
			r, off = outer, off+base
		default:
			return nil, 0
		}
	}
}

// get returns a file with the inode of of. The caller returns it with put.
func (h *handles) get(of *os.File) (*os.File, error) {
	h.mu.Lock()
	if list := h.idle[of]; len(list) > 0 {
		f := list[len(list)-1]
		h.idle[of] = list[:len(list)-1]
		h.mu.Unlock()
		return f, nil
	}
	h.mu.Unlock()
	return reopen(of)
}

// put returns f to the pool.
func (h *handles) put(of, f *os.File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.idle[of]) >= maxIdle {
		_ = f.Close()
		return
	}
	if h.idle == nil {
		h.idle = make(map[*os.File][]*os.File)
	}
	h.idle[of] = append(h.idle[of], f)
}

func (h *handles) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var errs []error
	for _, list := range h.idle {
		for _, f := range list {
			errs = append(errs, f.Close())
		}
	}
	h.idle = nil
	return errors.Join(errs...)
}

// reopen opens the inode of f again, read-only, through the open descriptor: the
// path may name another file by now.
func reopen(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reopen %q: %w", f.Name(), err)
	}
	var again *os.File
	var openErr error
	err = raw.Control(func(fd uintptr) {
		again, openErr = os.Open("/proc/self/fd/" + strconv.FormatUint(uint64(fd), 10))
	})
	if err := errors.Join(err, openErr); err != nil {
		return nil, fmt.Errorf("reopen %q: %w", f.Name(), err)
	}
	return again, nil
}
