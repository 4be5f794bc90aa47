package reader

import (
	"context"
	"fmt"
	"io"
)

// ErrBusy means that content cannot be had now because too much else is read at the same
// time. It wraps ErrUnavailable.
var ErrBusy = fmt.Errorf("too much is read at one time: %w", ErrUnavailable)

// Holder is content that may leave the machine again after it was read.
type Holder interface {
	// Hold makes the piece of content at offset off stay until release is called, so that several reads
	// of it get it once. It waits until the piece is here; the error wraps ErrUnavailable
	// if it cannot be had, or is that of ctx.
	Hold(ctx context.Context, off int64) (release func(), err error)
}

// Hold holds the piece of r at offset off if r, or the reader that r is a section of, is a
// Holder. Other content is always there.
func Hold(ctx context.Context, r io.ReaderAt, off int64) (release func(), err error) {
	for {
		switch x := r.(type) {
		case Holder:
			return x.Hold(ctx, off)
		case *io.SectionReader:
			outer, base, _ := x.Outer()
			r, off = outer, off+base
		default:
			return func() {}, nil
		}
	}
}
