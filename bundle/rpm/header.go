package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Data types of header entries (rpm 4.18, include/rpm/rpmtypes.h).
const (
	typeChar        = 1
	typeInt8        = 2
	typeInt16       = 3
	typeInt32       = 4
	typeInt64       = 5
	typeString      = 6
	typeBin         = 7
	typeStringArray = 8
	typeI18NString  = 9
)

const (
	introSize = 16 // magic, number of entries, bytes of data
	entrySize = 16 // tag, type, offset, count
)

var headerMagic = []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}

// Header holds the entries of one header structure by tag.
type Header struct {
	entries map[uint32]entry
	raw     []byte // as in the file, without padding
}

type entry struct {
	dataType uint32
	count    int
	data     []byte
}

// readHeader reads the header structure at offset of a file of size bytes.
func readHeader(r io.ReaderAt, offset, size int64, maxData uint32) (Header, error) {
	intro := make([]byte, introSize)
	if offset+introSize > size {
		return Header{}, io.ErrUnexpectedEOF
	}
	if _, err := r.ReadAt(intro, offset); err != nil {
		return Header{}, reader.Whole(err)
	}
	if !bytes.HasPrefix(intro, headerMagic) {
		return Header{}, errors.New("bad magic")
	}
	count, length := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	if count > maxEntries || length > maxData {
		return Header{}, fmt.Errorf("%d entries and %d bytes, limits %d and %d", count, length, maxEntries, maxData)
	}
	total := introSize + int64(count)*entrySize + int64(length)
	if offset+total > size {
		return Header{}, io.ErrUnexpectedEOF
	}
	raw := make([]byte, total)
	if _, err := r.ReadAt(raw, offset); err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	return parseHeader(raw, int(count))
}

func parseHeader(raw []byte, count int) (Header, error) {
	h := Header{entries: make(map[uint32]entry, count), raw: raw}
	data := raw[introSize+count*entrySize:]
	for i := range count {
		e := raw[introSize+i*entrySize:]
		tag, dataType := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
		offset, n := binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:])
		if _, twice := h.entries[tag]; twice {
			return Header{}, fmt.Errorf("tag %d twice", tag)
		}
		if int64(offset) > int64(len(data)) || int64(n) > int64(len(data)) || n == 0 {
			return Header{}, fmt.Errorf("tag %d: offset %d and count %d outside %d bytes", tag, offset, n, len(data))
		}
		length, err := entryLength(dataType, int(n), data[offset:])
		if err != nil {
			return Header{}, fmt.Errorf("tag %d: %w", tag, err)
		}
		h.entries[tag] = entry{dataType: dataType, count: int(n), data: data[offset:][:length]}
	}
	return h, nil
}

// entryLength returns how many bytes an entry has in data.
func entryLength(dataType uint32, count int, data []byte) (int, error) {
	width := 0
	switch dataType {
	case typeChar, typeInt8, typeBin:
		width = 1
	case typeInt16:
		width = 2
	case typeInt32:
		width = 4
	case typeInt64:
		width = 8
	case typeString, typeStringArray, typeI18NString:
		if dataType == typeString && count != 1 {
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
func (h Header) Has(tag uint32) bool { _, ok := h.entries[tag]; return ok }

// Strings returns the strings of tag; nil if the tag is absent or of another type.
func (h Header) Strings(tag uint32) []string {
	e := h.entries[tag]
	switch e.dataType {
	case typeString, typeStringArray, typeI18NString:
		out := make([]string, 0, e.count)
		for part := range bytes.SplitSeq(e.data[:len(e.data)-1], []byte{0}) {
			out = append(out, string(part))
		}
		return out
	}
	return nil
}

// String returns the first string of tag, or "".
func (h Header) String(tag uint32) string {
	if s := h.Strings(tag); len(s) > 0 {
		return s[0]
	}
	return ""
}

// Ints returns the integers of tag, of any width; nil if the tag is absent or
// of another type.
func (h Header) Ints(tag uint32) []uint64 {
	e := h.entries[tag]
	out := make([]uint64, e.count)
	for i := range out {
		switch e.dataType {
		case typeChar, typeInt8:
			out[i] = uint64(e.data[i])
		case typeInt16:
			out[i] = uint64(binary.BigEndian.Uint16(e.data[2*i:]))
		case typeInt32:
			out[i] = uint64(binary.BigEndian.Uint32(e.data[4*i:]))
		case typeInt64:
			out[i] = binary.BigEndian.Uint64(e.data[8*i:])
		default:
			return nil
		}
	}
	return out
}

// Int returns the first integer of tag, or 0.
func (h Header) Int(tag uint32) uint64 {
	if v := h.Ints(tag); len(v) > 0 {
		return v[0]
	}
	return 0
}

// Bytes returns a copy of the binary value of tag; nil if the tag is absent or
// of another type.
func (h Header) Bytes(tag uint32) []byte {
	if e := h.entries[tag]; e.dataType == typeBin {
		return slices.Clone(e.data)
	}
	return nil
}

// Raw returns the bytes of the header as they are in the file, which is what a
// signature of the header covers. They must not be changed.
func (h Header) Raw() []byte { return h.raw }
