// Package rpm reads the headers of .rpm files: lead, signature header, header.
//
//	f, err := rpm.Read(file, size)
//	name := f.Header.String(1000)
//
// Nothing that it returns is verified; trust.VerifyRPM does that. It reads no
// payload, and it gives tags no meaning: bundle/yum and bundle/trust know the
// tags that they need.
//
// github.com/sassoftware/go-rpmutils is not used, because it slices with
// offsets that it has not checked and so panics on a crafted header, and because
// the verified bytes and the bytes that are read must be parsed the same way.
// The tests compare both parsers.
package rpm

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Limits, below those of rpm itself (65535 entries and 256 MiB): the largest
// real header, of a package with 60,000 files, has 20 MB.
const (
	maxEntries   = 4096
	maxHeader    = 64 << 20 // bytes of data
	maxSignature = 16 << 20 // bytes of data in the signature header
)

const leadSize = 96

var leadMagic = []byte{0xed, 0xab, 0xee, 0xdb}

// File is an .rpm file whose headers have been read (rpm 4.18,
// docs/manual/format.md). It is safe for concurrent use if its reader is.
type File struct {
	// Signature is the signature header.
	Signature Header
	// Header is the header: name, version, files and so on.
	Header Header
	// HeaderStart and HeaderEnd are byte offsets of Header in the file; the
	// payload starts at HeaderEnd.
	HeaderStart, HeaderEnd int64

	r    io.ReaderAt
	size int64
}

// Read parses the headers of an .rpm file of size bytes. Memory is bounded by
// the size of the file and by 80 MiB.
func Read(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	s := &source{r: r, size: size}
	lead, err := s.read(0, leadSize)
	if err != nil {
		return nil, fmt.Errorf("read rpm: lead: %w", err)
	}
	if !bytes.HasPrefix(lead, leadMagic) {
		return nil, errors.New("read rpm: not an rpm file")
	}
	if f.Signature, err = readHeader(s, leadSize, maxSignature); err != nil {
		return nil, fmt.Errorf("read rpm: signature header: %w", err)
	}
	// The signature header is padded so that the header starts at a multiple of 8.
	f.HeaderStart = leadSize + (int64(len(f.Signature.raw))+7)/8*8
	if f.Header, err = readHeader(s, f.HeaderStart, maxHeader); err != nil {
		return nil, fmt.Errorf("read rpm: header: %w", err)
	}
	f.HeaderEnd = f.HeaderStart + int64(len(f.Header.raw))
	return f, nil
}

// headSize is how many bytes are read at once: both headers of most packages.
const headSize = 16 << 10

// source reads a file of size bytes, its head with the first call.
type source struct {
	r    io.ReaderAt
	size int64
	head []byte
}

// read returns n bytes at offset.
func (s *source) read(offset, n int64) ([]byte, error) {
	if offset+n > s.size {
		return nil, io.ErrUnexpectedEOF
	}
	var err error
	if s.head == nil {
		if s.head, err = s.readAt(0, min(s.size, headSize)); err != nil {
			return nil, err
		}
	}
	if end := offset + n; end <= int64(len(s.head)) {
		return s.head[offset:end:end], nil
	}
	return s.readAt(offset, n)
}

func (s *source) readAt(offset, n int64) ([]byte, error) {
	b := make([]byte, n)
	if k, err := s.r.ReadAt(b, offset); k < len(b) {
		return nil, reader.Whole(err)
	}
	return b, nil
}

// Payload returns a new reader of the compressed payload, from HeaderEnd to the
// end of the file.
func (f *File) Payload() *io.SectionReader {
	return io.NewSectionReader(f.r, f.HeaderEnd, f.size-f.HeaderEnd)
}

// Tags of the size of the uncompressed payload: signature header, then header.
const (
	sigTagLongArchiveSize = 271
	sigTagPayloadSize     = 1007
	tagArchiveSize        = 1046
)

// ArchiveSize returns the size of the uncompressed payload in bytes, or 0 if
// the package does not state it. The number is not signed.
func (f *File) ArchiveSize() uint64 {
	for _, n := range []uint64{
		f.Signature.Int(sigTagLongArchiveSize),
		f.Signature.Int(sigTagPayloadSize),
		f.Header.Int(tagArchiveSize),
	} {
		if n != 0 {
			return n
		}
	}
	return 0
}
