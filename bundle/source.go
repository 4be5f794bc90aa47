package bundle

import (
	"context"
	"io"
	"math"
	"os"

	"github.com/offk8s/offk8s/bundle/reader"
)

// source is the content of a blob on its way into a container.
type source struct {
	r io.Reader // fails once the context is done
	// file has the content from base on, and section moves r in it; nil if no single file
	// has it.
	file    *os.File
	base    int64
	section io.Seeker
	sum     *hasher // nil: the digest is compared later
}

// newSource returns the content of r, a file from its start or a part of one if that can
// be seen.
func newSource(ctx context.Context, r io.Reader) *source {
	if f, ok := r.(*os.File); ok {
		r = io.NewSectionReader(f, 0, math.MaxInt64)
	}
	s := &source{r: reader.Context(ctx, r)}
	section, ok := r.(interface {
		io.Seeker
		Outer() (r io.ReaderAt, off, n int64)
	})
	if ok {
		outer, base, _ := section.Outer()
		s.file, _ = outer.(*os.File)
		s.base, s.section = base, section
	}
	return s
}

// Read hashes what it reads.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p[:min(len(p), hashBuffer)])
	if s.sum != nil && n > 0 {
		b := newBlock()
		s.sum.add(b, b.b[:copy(b.b[:], p[:n])])
		b.release()
	}
	return n, err
}

// at returns the offset in file at which r reads.
func (s *source) at() int64 {
	n, _ := s.section.Seek(0, io.SeekCurrent) // a section cannot fail
	return s.base + n
}
