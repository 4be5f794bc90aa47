package tarfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sort"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Part is a member of a container that Compose puts together.
type Part struct {
	Name    string
	Size    int64
	Content io.ReaderAt // of Size bytes
}

// Compose returns the container that a Writer writes of these members, and its size in
// bytes, without reading any content before it is needed. reader.Hold of it holds the
// content of a member.
func Compose(parts []Part) (io.ReaderAt, int64, error) {
	c := &composed{}
	for _, p := range parts {
		if err := CheckName(p.Name); err != nil {
			return nil, 0, err
		}
		if p.Size < 0 {
			return nil, 0, fmt.Errorf("member %q: negative size %d", p.Name, p.Size)
		}
		header := encodeHeader(p.Name, p.Size, c.size)
		c.add(bytes.NewReader(header), int64(len(header)))
		c.add(p.Content, p.Size)
		c.add(zeroes{}, padding(p.Size))
	}
	c.add(zeroes{}, trailerSize)
	return c, c.size, nil
}

// composed is a sequence of segments.
type composed struct {
	segments []segment
	size     int64
}

type segment struct {
	offset, size int64
	content      io.ReaderAt
}

func (c *composed) add(r io.ReaderAt, size int64) {
	if size > 0 {
		c.segments = append(c.segments, segment{c.size, size, r})
		c.size += size
	}
}

func (c *composed) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at offset %d", off)
	}
	n := 0
	for i := c.at(off); n < len(p); i++ {
		if i >= len(c.segments) {
			return n, io.EOF
		}
		s := c.segments[i]
		at := off + int64(n) - s.offset
		part := p[n:min(int64(len(p)), int64(n)+s.size-at)]
		got, err := s.content.ReadAt(part, at)
		if n += got; got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// at returns the index of the segment with the byte at off, len(c.segments) if it is behind
// the end.
func (c *composed) at(off int64) int {
	return sort.Search(len(c.segments), func(i int) bool { return c.segments[i].offset+c.segments[i].size > off })
}

// Hold implements reader.Holder.
func (c *composed) Hold(ctx context.Context, off int64) (release func(), err error) {
	i := c.at(off)
	if i >= len(c.segments) {
		return func() {}, nil
	}
	return reader.Hold(ctx, c.segments[i].content, off-c.segments[i].offset)
}

// zeroes is content of any size.
type zeroes struct{}

func (zeroes) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
