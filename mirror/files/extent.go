package files

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// extent is a part of a file that the kernel copies to a socket.
type extent struct {
	file       *os.File
	at, length int64
	full       bool // the socket took less than length
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

// Read is for net/http, which sends the first bytes of a body with its head.
func (x *extent) Read(b []byte) (int, error) {
	if x.length == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), x.length)]
	if err := readFull(x.file, b, x.at); err != nil {
		return 0, err
	}
	x.at += int64(len(b))
	x.length -= int64(len(b))
	return len(b), nil
}

// send sends as much as the socket takes without blocking.
func (x *extent) send(socket syscall.RawConn) (sent int64, err error) {
	before := x.length
	var failed error
	err = socket.Write(func(out uintptr) bool {
		failed = x.copy(int(out), int(x.file.Fd()))
		return true
	})
	if err == nil {
		err = failed
	}
	return before - x.length, err
}

func (x *extent) copy(out, in int) error {
	for x.length > 0 {
		n, err := unix.Sendfile(out, in, &x.at, int(x.length))
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			x.full = true
			return nil
		case err != nil:
			return os.NewSyscallError("sendfile", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		if x.length -= int64(n); x.length > 0 {
			x.full = true
			return nil
		}
	}
	return nil
}
