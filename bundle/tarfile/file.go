package tarfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/offk8s/offk8s/bundle/reader"
)

// File is an open container on disk. It is safe for concurrent use.
type File struct {
	*Index
	f    *os.File
	path string
	size int64
}

// OpenFile opens the container at path and reads its index.
func OpenFile(ctx context.Context, path string) (*File, error) {
	f, info, err := reader.OpenFile(path)
	if err != nil {
		return nil, err
	}
	index, err := ReadIndex(ctx, f, info.Size())
	if err != nil {
		if errors.Is(err, ErrFormat) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrName) {
			err = explain(f, info.Size(), err)
		}
		f.Close()
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	return &File{Index: index, f: f, path: path, size: info.Size()}, nil
}

// OpenParts opens a container in one or more parts, in their order. This version
// reads one part only.
func OpenParts(ctx context.Context, paths []string) (*File, error) {
	if len(paths) != 1 {
		return nil, fmt.Errorf("open %d parts: a bundle is one file", len(paths))
	}
	return OpenFile(ctx, paths[0])
}

// Path returns the path that was opened.
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
	return []Extent{{File: f.f, Offset: m.Offset, Size: m.Size}}
}

// ReadAt reads from the container.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Section returns a reader over the content of a member.
func (f *File) Section(name string) (*io.SectionReader, error) {
	m, ok := f.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("no member %q in %q: %w", name, f.path, os.ErrNotExist)
	}
	return io.NewSectionReader(f.f, m.Offset, m.Size), nil
}

// Close closes the file; readers over it fail afterwards.
func (f *File) Close() error { return f.f.Close() }
