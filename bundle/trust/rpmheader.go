package trust

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of an RPM's headers, below those of rpm itself (65535 entries and
// 256 MiB): the largest real header, of a package with 60,000 files, has 20 MB.
const (
	rpmLeadSize       = 96
	maxRPMEntries     = 4096
	maxRPMHeaderData  = 64 << 20
	maxRPMSigHeader   = 16 << 20
	rpmHeaderIntro    = 16
	rpmHeaderEntryLen = 16
)

var (
	rpmLeadMagic   = []byte{0xed, 0xab, 0xee, 0xdb}
	rpmHeaderMagic = []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}
)

// Data types of header entries (rpm 4.18, include/rpm/rpmtypes.h).
const (
	rpmTypeChar        = 1
	rpmTypeInt8        = 2
	rpmTypeInt16       = 3
	rpmTypeInt32       = 4
	rpmTypeInt64       = 5
	rpmTypeString      = 6
	rpmTypeBin         = 7
	rpmTypeStringArray = 8
	rpmTypeI18NString  = 9
)

// RPM are the parts of an .rpm file: lead, signature header, header, payload.
// Nothing in it is verified; see VerifyRPM.
//
// It is a parser of our own and not go-rpmutils', because that one slices with
// offsets it has not checked and so panics on a crafted header, and because
// what is verified and what is read must be the same reading.
type RPM struct {
	// Header is the header that carries name, version, files and so on.
	Header RPMHeader
	// HeaderStart and HeaderEnd are byte offsets of Header in the file; the
	// payload starts at HeaderEnd.
	HeaderStart, HeaderEnd int64

	signatures RPMHeader
}

// RPMHeader are the entries of one header structure by tag.
type RPMHeader struct {
	entries map[uint32]rpmEntry
	raw     []byte // the structure as it lies in the file, without padding
}

type rpmEntry struct {
	dataType uint32
	count    int
	data     []byte
}

// ReadRPM parses the headers of an .rpm file of size bytes. Memory is bounded
// by the size of the file and by 80 MiB.
func ReadRPM(r io.ReaderAt, size int64) (*RPM, error) {
	lead := make([]byte, rpmLeadSize)
	if _, err := r.ReadAt(lead, 0); err != nil {
		return nil, fmt.Errorf("read rpm: lead: %w", noEOF(err))
	}
	if !bytes.HasPrefix(lead, rpmLeadMagic) {
		return nil, errors.New("read rpm: not an rpm file")
	}
	p := &RPM{}
	var err error
	if p.signatures, err = readRPMHeader(r, rpmLeadSize, size, maxRPMSigHeader); err != nil {
		return nil, fmt.Errorf("read rpm: signature header: %w", err)
	}
	// The signature header is padded so that the header starts at a multiple of 8.
	p.HeaderStart = rpmLeadSize + (int64(len(p.signatures.raw))+7)/8*8
	if p.Header, err = readRPMHeader(r, p.HeaderStart, size, maxRPMHeaderData); err != nil {
		return nil, fmt.Errorf("read rpm: header: %w", err)
	}
	p.HeaderEnd = p.HeaderStart + int64(len(p.Header.raw))
	return p, nil
}

func readRPMHeader(r io.ReaderAt, offset, size int64, maxData uint32) (RPMHeader, error) {
	intro := make([]byte, rpmHeaderIntro)
	if offset+rpmHeaderIntro > size {
		return RPMHeader{}, io.ErrUnexpectedEOF
	}
	if _, err := r.ReadAt(intro, offset); err != nil {
		return RPMHeader{}, noEOF(err)
	}
	if !bytes.HasPrefix(intro, rpmHeaderMagic) {
		return RPMHeader{}, errors.New("bad magic")
	}
	count, length := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	if count > maxRPMEntries || length > maxData {
		return RPMHeader{}, fmt.Errorf("%d entries and %d bytes, limits %d and %d", count, length, maxRPMEntries, maxData)
	}
	total := rpmHeaderIntro + int64(count)*rpmHeaderEntryLen + int64(length)
	if offset+total > size {
		return RPMHeader{}, io.ErrUnexpectedEOF
	}
	raw := make([]byte, total)
	if _, err := r.ReadAt(raw, offset); err != nil && !errors.Is(err, io.EOF) {
		return RPMHeader{}, err
	}
	return parseRPMHeader(raw, int(count))
}

func parseRPMHeader(raw []byte, count int) (RPMHeader, error) {
	h := RPMHeader{entries: make(map[uint32]rpmEntry, count), raw: raw}
	data := raw[rpmHeaderIntro+count*rpmHeaderEntryLen:]
	for i := range count {
		e := raw[rpmHeaderIntro+i*rpmHeaderEntryLen:]
		tag, dataType := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
		offset, n := binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:])
		if _, twice := h.entries[tag]; twice {
			return RPMHeader{}, fmt.Errorf("tag %d twice", tag)
		}
		if int64(offset) > int64(len(data)) || int64(n) > int64(len(data)) || n == 0 {
			return RPMHeader{}, fmt.Errorf("tag %d: offset %d and count %d outside %d bytes", tag, offset, n, len(data))
		}
		length, err := rpmEntryLength(dataType, int(n), data[offset:])
		if err != nil {
			return RPMHeader{}, fmt.Errorf("tag %d: %w", tag, err)
		}
		h.entries[tag] = rpmEntry{dataType: dataType, count: int(n), data: data[offset:][:length]}
	}
	return h, nil
}

// rpmEntryLength returns how many bytes an entry has in data.
func rpmEntryLength(dataType uint32, count int, data []byte) (int, error) {
	width := 0
	switch dataType {
	case rpmTypeChar, rpmTypeInt8, rpmTypeBin:
		width = 1
	case rpmTypeInt16:
		width = 2
	case rpmTypeInt32:
		width = 4
	case rpmTypeInt64:
		width = 8
	case rpmTypeString, rpmTypeStringArray, rpmTypeI18NString:
		if dataType == rpmTypeString && count != 1 {
			return 0, fmt.Errorf("string with count %d", count)
		}
		return stringsLength(count, data)
	default:
		return 0, fmt.Errorf("unknown type %d", dataType)
	}
	if count*width > len(data) {
		return 0, fmt.Errorf("%d values of %d bytes end after the data", count, width)
	}
	return count * width, nil
}

func stringsLength(count int, data []byte) (int, error) {
	end := 0
	for range count {
		i := bytes.IndexByte(data[end:], 0)
		if i < 0 {
			return 0, errors.New("string without an end")
		}
		end += i + 1
	}
	return end, nil
}

// Has reports whether the header has tag.
func (h RPMHeader) Has(tag uint32) bool { _, ok := h.entries[tag]; return ok }

// Strings returns the strings of tag; nil when the tag is absent or of another type.
func (h RPMHeader) Strings(tag uint32) []string {
	e := h.entries[tag]
	switch e.dataType {
	case rpmTypeString, rpmTypeStringArray, rpmTypeI18NString:
		out := make([]string, 0, e.count)
		for part := range bytes.SplitSeq(e.data[:len(e.data)-1], []byte{0}) {
			out = append(out, string(part))
		}
		return out
	}
	return nil
}

// String returns the first string of tag, or "".
func (h RPMHeader) String(tag uint32) string {
	if s := h.Strings(tag); len(s) > 0 {
		return s[0]
	}
	return ""
}

// Ints returns the integers of tag, of any width; nil when absent or of another type.
func (h RPMHeader) Ints(tag uint32) []uint64 {
	e := h.entries[tag]
	out := make([]uint64, e.count)
	for i := range out {
		switch e.dataType {
		case rpmTypeChar, rpmTypeInt8:
			out[i] = uint64(e.data[i])
		case rpmTypeInt16:
			out[i] = uint64(binary.BigEndian.Uint16(e.data[2*i:]))
		case rpmTypeInt32:
			out[i] = uint64(binary.BigEndian.Uint32(e.data[4*i:]))
		case rpmTypeInt64:
			out[i] = binary.BigEndian.Uint64(e.data[8*i:])
		default:
			return nil
		}
	}
	return out
}

// Int returns the first integer of tag, or 0.
func (h RPMHeader) Int(tag uint32) uint64 {
	if v := h.Ints(tag); len(v) > 0 {
		return v[0]
	}
	return 0
}

// bytes returns the binary value of tag.
func (h RPMHeader) bytes(tag uint32) []byte {
	if e := h.entries[tag]; e.dataType == rpmTypeBin {
		return slices.Clone(e.data)
	}
	return nil
}

// noEOF makes an end of file inside a structure visible as such.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Tags for the size of the uncompressed payload: signature header, then header.
const (
	rpmSigTagLongArchiveSize = 271
	rpmSigTagPayloadSize     = 1007
	rpmTagArchiveSize        = 1046
)

// ArchiveSize returns the size of the uncompressed payload in bytes, 0 when the
// package does not say. The number is not signed.
func (p *RPM) ArchiveSize() uint64 {
	for _, v := range []uint64{
		p.signatures.Int(rpmSigTagLongArchiveSize),
		p.signatures.Int(rpmSigTagPayloadSize),
		p.Header.Int(rpmTagArchiveSize),
	} {
		if v != 0 {
			return v
		}
	}
	return 0
}
