package tarfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// maxMembers is the largest number of members of a container: far above the
// largest bundle, and small enough for the memory of any host.
const maxMembers = 1 << 18

// ErrFormat reports bytes that the Writer would not have written.
var ErrFormat = errors.New("not a canonical tar")

// ErrTruncated reports a container that ends too early.
var ErrTruncated = errors.New("truncated")

// Member is one file of a container.
type Member struct {
	Name   string
	Offset int64 // of the content, from the start of the container
	Size   int64 // bytes
}

// Index is the list of members of a container. It is immutable and safe for
// concurrent use.
type Index struct {
	members []Member
	byName  map[string]int
}

// Members returns the members in their order; callers must not change the slice.
func (x *Index) Members() []Member { return x.members }

// Lookup returns the member called name.
func (x *Index) Lookup(name string) (Member, bool) {
	i, ok := x.byName[name]
	if !ok {
		return Member{}, false
	}
	return x.members[i], true
}

// ReadIndex reads the headers, paddings and trailer of the container of size
// bytes in r, not the contents. Errors are ErrTruncated, ErrFormat or ErrName
// with the place, or an error of r.
func ReadIndex(ctx context.Context, r io.ReaderAt, size int64) (*Index, error) {
	s := scanner{r: r, size: size, names: nameSet{}, aligned: true, old: true}
	x := &Index{byName: map[string]int{}}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, end, err := s.next()
		if err != nil {
			return nil, err
		}
		if end {
			return x, nil
		}
		if len(x.members) == maxMembers {
			return nil, fmt.Errorf("%w: more than %d members", ErrFormat, maxMembers)
		}
		x.byName[m.Name] = len(x.members)
		x.members = append(x.members, m)
	}
}

// scanner walks a container header by header.
type scanner struct {
	r     io.ReaderAt
	size  int64 // of the container
	off   int64 // of the next byte to look at: padding of the last member, then a header
	pad   int64 // bytes of padding at off
	names nameSet
	// All headers so far are as encodeHeader, or as encodeOld, returns them: both may be
	// true, until the first large member.
	aligned, old bool
	buf          [blockSize + maxHeader]byte // from offset at on, filled to n: a padding and the header after it
	at, n        int64
	again        [maxHeader]byte // of the header as it has to be
}

// next returns the next member, or end when the trailer was found in its place.
func (s *scanner) next() (m Member, end bool, err error) {
	b, err := s.read(s.pad + blockSize)
	if err != nil {
		return Member{}, false, err
	}
	if !zeros(b[:s.pad]) {
		return Member{}, false, s.format("padding is not zero")
	}
	s.off += s.pad
	s.pad = 0
	if zeros(b[len(b)-blockSize:]) {
		return Member{}, true, s.trailer()
	}
	name, size, err := s.header()
	if err != nil {
		return Member{}, false, err
	}
	if size > math.MaxInt64-s.off-4*blockSize {
		return Member{}, false, s.format("member %q: impossible size %d", name, size)
	}
	if end := s.off + size + padding(size) + trailerSize; end > s.size {
		return Member{}, false, s.truncated(end, fmt.Sprintf("in member %q", name))
	}
	if err := s.names.add(name); err != nil {
		return Member{}, false, err
	}
	m = Member{Name: name, Offset: s.off, Size: size}
	s.off += size
	s.pad = padding(size)
	return m, false, nil
}

// header decodes the header at off, demands that encoding it again gives the
// same bytes, in the form of those before it, and moves past it.
func (s *scanner) header() (name string, size int64, err error) {
	b, err := s.read(blockSize)
	if err != nil {
		return "", 0, err
	}
	if t := b[offType]; t != typeRegular && t != typePax {
		return "", 0, s.format("member %q has type %q, only regular files are allowed", field(b, offName, maxUstarName), t)
	}
	var path, sizeText string
	if b[offType] == typePax {
		n, ok := decodeOctal(field(b, offSize, 12))
		if !ok || n == 0 || n > contentUnit {
			return "", 0, s.format("pax header of unknown shape")
		}
		if b, err = s.read(2*blockSize + n + padding(n)); err != nil {
			return "", 0, err
		}
		if path, sizeText, ok = decodePax(b[blockSize : blockSize+n]); !ok {
			return "", 0, s.format("pax header of unknown shape")
		}
	}
	last := b[len(b)-blockSize:]
	if name = path; name == "" {
		name = field(last, offName, maxUstarName)
	}
	if err := CheckName(name); err != nil {
		return "", 0, fmt.Errorf("%w (header at offset %d)", err, s.off)
	}
	size, ok := decodeOctal(field(last, offSize, 12))
	if sizeText != "" {
		size, err = strconv.ParseInt(sizeText, 10, 64)
		ok = err == nil && size >= 0
	}
	if !ok {
		return "", 0, s.format("member %q: size is no plain number", name)
	}
	s.aligned = s.aligned && bytes.Equal(b, appendHeader(s.again[:0], name, size, s.off))
	s.old = s.old && bytes.Equal(b, appendOld(s.again[:0], name, size))
	if !s.aligned && !s.old {
		return "", 0, s.format("header of member %q is not in its canonical form", name)
	}
	s.off += int64(len(b))
	return name, size, nil
}

// trailer demands two zero blocks at off and then the end.
func (s *scanner) trailer() error {
	b, err := s.read(trailerSize)
	switch {
	case err != nil:
		return err
	case s.size > s.off+trailerSize:
		return s.format("%d bytes after the trailer", s.size-s.off-trailerSize)
	case !zeros(b):
		return s.format("trailer is not zero")
	}
	return nil
}

// read returns the n bytes at off; n is at most len(s.buf).
func (s *scanner) read(n int64) ([]byte, error) {
	if n > s.size-s.off {
		return nil, s.truncated(s.off+n, "before the end of the trailer")
	}
	if from := s.off - s.at; from >= 0 && from+n <= s.n {
		return s.buf[from : from+n], nil
	}
	// No more: where each member comes from a registry, a byte of it would fetch all.
	k, err := s.r.ReadAt(s.buf[:n], s.off)
	s.at, s.n = s.off, int64(k)
	if s.n < n {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, s.truncated(s.off+n, "while reading")
		}
		return nil, fmt.Errorf("read tar at offset %d: %w", s.off, err)
	}
	return s.buf[:n], nil
}

func (s *scanner) format(format string, a ...any) error {
	return fmt.Errorf("%w: offset %d: %s", ErrFormat, s.off, fmt.Sprintf(format, a...))
}

func (s *scanner) truncated(want int64, where string) error {
	return fmt.Errorf("%w at %d bytes, expected at least %d (%s)", ErrTruncated, s.size, want, where)
}

func zeros(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// nameSet refuses a name that it already has, in this or another letter case,
// and a name below a file. Keys are lower case.
type nameSet map[string]pathEntry

type pathEntry struct {
	exact string
	file  bool
}

func (s nameSet) add(name string) error {
	fold := strings.ToLower(name)
	if have, found := s[fold]; found {
		if !have.file {
			return fmt.Errorf("%w: %q is both a file and a directory", ErrName, name)
		}
		return fmt.Errorf("%w: %q and %q differ only in letter case, or not at all", ErrName, have.exact, name)
	}
	for i := range len(fold) {
		if fold[i] != '/' {
			continue
		}
		have, found := s[fold[:i]]
		switch {
		case !found:
			s[fold[:i]] = pathEntry{exact: name[:i]}
		case have.file:
			return fmt.Errorf("%w: %q is both a file and a directory", ErrName, name[:i])
		case have.exact != name[:i]:
			return fmt.Errorf("%w: directories %q and %q differ only in letter case", ErrName, have.exact, name[:i])
		}
	}
	s[fold] = pathEntry{exact: name, file: true}
	return nil
}
