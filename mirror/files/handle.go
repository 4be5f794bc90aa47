package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
)

// maxIdle bounds how many files of one bundle wait for the next request.
const maxIdle = 64

// handles lends out files with a position of their own: sendfile reads at the
// position of the file, which concurrent requests cannot share.
type handles struct {
	mu     sync.Mutex
	idle   map[*os.File][]*os.File // by the bundle's own file
	closed bool
}

// origin returns the file that a section lies in and the offset there; nil when
// it lies in none.
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

// get returns a file of the same inode as of, for put.
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

// put takes f back.
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

// reopen opens the inode behind f again, read-only. It goes through the open
// descriptor and not through the path, where another file may lie by now.
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
