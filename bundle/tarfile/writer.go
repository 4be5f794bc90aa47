package tarfile

import (
	"errors"
	"fmt"
	"io"
)

// Place sets the offsets of the members of a container and returns its length in bytes.
func Place(members []Member) int64 {
	var n int64
	for i, m := range members {
		members[i].Offset = n + int64(len(encodeHeader(m.Name, m.Size, n)))
		n = members[i].Offset + m.Size + padding(m.Size)
	}
	return n + trailerSize
}

// ErrSize reports content that is shorter or longer than announced.
var ErrSize = errors.New("unexpected size")

// ContentWriter is a destination that takes content in a way of its own. A Writer uses
// it in place of Write for the contents of members.
type ContentWriter interface {
	// WriteContent writes the next size bytes of r, and returns how many: fewer, without
	// an error, only if r ends.
	WriteContent(r io.Reader, size int64) (int64, error)
}

// Writer writes a container. The same members in the same order give the same
// bytes. It is not safe for concurrent use.
type Writer struct {
	w     io.Writer
	off   int64 // of the next header
	names nameSet
	buf   []byte // nil until it is needed
	err   error  // sticky: after a failed write the container is worthless
}

// NewWriter returns a Writer on w. Close ends the container but not w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, names: nameSet{}}
}

// Add writes a member of exactly size bytes from r. A reader that ends early or
// late is an error, after which the Writer only returns that error.
func (w *Writer) Add(name string, size int64, r io.Reader) error {
	if w.err != nil {
		return w.err
	}
	w.err = w.add(name, size, r)
	return w.err
}

func (w *Writer) add(name string, size int64, r io.Reader) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("member %q: negative size %d", name, size)
	}
	if err := w.names.add(name); err != nil {
		return err
	}
	header := encodeHeader(name, size, w.off)
	w.off += int64(len(header)) + size + padding(size)
	if _, err := w.w.Write(header); err != nil {
		return fmt.Errorf("write header of %q: %w", name, err)
	}
	// One byte more than expected shows a content that is too long.
	n, err := w.content(r, size)
	if err != nil {
		return fmt.Errorf("write member %q: %w", name, err)
	}
	if n != size {
		return fmt.Errorf("%w: member %q has %d bytes, expected %d", ErrSize, name, n, size)
	}
	if extra, err := io.ReadFull(r, make([]byte, 1)); extra != 0 || !errors.Is(err, io.EOF) {
		if extra == 0 {
			return fmt.Errorf("read member %q: %w", name, err)
		}
		return fmt.Errorf("%w: member %q has more than %d bytes", ErrSize, name, size)
	}
	if _, err := w.w.Write(make([]byte, padding(size))); err != nil {
		return fmt.Errorf("write padding of %q: %w", name, err)
	}
	return nil
}

func (w *Writer) content(r io.Reader, size int64) (int64, error) {
	if c, ok := w.w.(ContentWriter); ok {
		return c.WriteContent(r, size)
	}
	if w.buf == nil {
		w.buf = make([]byte, 1<<20)
	}
	// The wrapper hides ReadFrom so that the buffer is ours on every platform.
	return io.CopyBuffer(struct{ io.Writer }{w.w}, io.LimitReader(r, size), w.buf)
}

// Close writes the trailer. Nothing can be added afterwards.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	w.err = errors.New("tar writer is closed")
	if _, err := w.w.Write(make([]byte, trailerSize)); err != nil {
		return fmt.Errorf("write trailer: %w", err)
	}
	return nil
}
