package tarfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/offk8s/offk8s/bundle/reader"
)

// File is an open container on disk, in one file or in several. It is safe for
// concurrent use.
type File struct {
	*Index
	parts []part
	path  string // of the first part
	size  int64
}

// part is a file that holds a run of bytes of a container.
type part struct {
	f          *os.File
	start, end int64 // in the container
}

// OpenFile opens the container at path and reads its index.
func OpenFile(ctx context.Context, path string) (*File, error) {
	return OpenParts(ctx, []string{path})
}

// OpenParts opens a container that was cut into parts, in their order, and reads
// its index.
func OpenParts(ctx context.Context, paths []string) (*File, error) {
	if len(paths) == 0 {
		return nil, errors.New("open a container: no file")
	}
	f := &File{path: paths[0]}
	for _, path := range paths {
		x, info, err := reader.OpenFile(path)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.parts = append(f.parts, part{x, f.size, f.size + info.Size()})
		f.size += info.Size()
	}
	var err error
	if f.Index, err = ReadIndex(ctx, f, f.size); err != nil {
		if errors.Is(err, ErrFormat) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrName) {
			err = explain(f, f.size, err)
		}
		return nil, errors.Join(fmt.Errorf("open %q: %w", f.path, err), f.Close())
	}
	return f, nil
}

// Path returns the path of the first part.
func (f *File) Path() string { return f.path }

// Size returns the length of the container in bytes.
func (f *File) Size() int64 { return f.size }

// Extent is a run of bytes of a file.
type Extent struct {
	// File stays open as long as the container, which shares it: callers use
	// ReadAt and never its position.
	File         *os.File
	Offset, Size int64 // bytes
}

// Extents returns where the content of a member is stored, in order. A
// container in one file has one extent for each member; a member of one in
// several parts may begin in one part and end in the next.
func (f *File) Extents(m Member) []Extent {
	var out []Extent
	off, left := m.Offset, m.Size
	for _, p := range f.parts[f.partAt(off):] {
		n := min(left, p.end-off)
		out = append(out, Extent{File: p.f, Offset: off - p.start, Size: n})
		off, left = off+n, left-n
		if left == 0 {
			break
		}
	}
	return out
}

// partAt returns the part that has the byte at off, or the number of parts.
func (f *File) partAt(off int64) int {
	i := slices.IndexFunc(f.parts, func(p part) bool { return off < p.end })
	if i < 0 {
		return len(f.parts)
	}
	return i
}

// ReadAt reads from the container.
func (f *File) ReadAt(b []byte, off int64) (n int, err error) {
	for i := f.partAt(off); n < len(b); i++ {
		if i == len(f.parts) {
			return n, io.EOF
		}
		p := f.parts[i]
		want := min(int64(len(b)-n), p.end-off)
		k, err := p.f.ReadAt(b[n:n+int(want)], off-p.start)
		n, off = n+k, off+int64(k)
		if int64(k) < want {
			return n, err
		}
	}
	return n, nil
}

// Section returns a reader over the content of a member.
func (f *File) Section(name string) (*io.SectionReader, error) {
	m, ok := f.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("no member %q in %q: %w", name, f.path, os.ErrNotExist)
	}
	return io.NewSectionReader(f, m.Offset, m.Size), nil
}

// Close closes the files; readers over them fail afterwards.
func (f *File) Close() error {
	var errs []error
	for _, p := range f.parts {
		errs = append(errs, p.f.Close())
	}
	return errors.Join(errs...)
}
