package rpm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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

// Header holds the entries of one header structure.
type Header struct {
	entries []entry // by tag, each of which is there once
	raw     []byte  // as in the file, without padding
}

type entry struct {
	tag, dataType uint32
	count         int
	data          []byte
}

// readHeader reads the header structure at offset of a file.
func readHeader(r *source, offset int64, maxData uint32) (Header, error) {
	intro, err := r.read(offset, introSize)
	if err != nil {
		return Header{}, err
	}
	if !bytes.HasPrefix(intro, headerMagic) {
		return Header{}, errors.New("bad magic")
	}
	count, length := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	if count > maxEntries || length > maxData {
		return Header{}, fmt.Errorf("%d entries and %d bytes, limits %d and %d", count, length, maxEntries, maxData)
	}
	raw, err := r.read(offset, introSize+int64(count)*entrySize+int64(length))
	if err != nil {
		return Header{}, err
	}
	return parseHeader(raw, int(count))
}

func parseHeader(raw []byte, count int) (Header, error) {
	h := Header{entries: make([]entry, 0, count), raw: raw}
	data := raw[introSize+count*entrySize:]
	for i := range count {
		e := raw[introSize+i*entrySize:]
		tag, dataType := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
		offset, n := binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:])
		if int64(offset) > int64(len(data)) || int64(n) > int64(len(data)) || n == 0 {
			return Header{}, fmt.Errorf("tag %d: offset %d and count %d outside %d bytes", tag, offset, n, len(data))
		}
		length, err := entryLength(dataType, int(n), data[offset:])
		if err != nil {
			return Header{}, fmt.Errorf("tag %d: %w", tag, err)
		}
		h.entries = append(h.entries, entry{tag: tag, dataType: dataType, count: int(n), data: data[offset:][:length]})
	}
	slices.SortFunc(h.entries, func(a, b entry) int { return cmp.Compare(a.tag, b.tag) })
	for i := 1; i < count; i++ {
		if tag := h.entries[i].tag; tag == h.entries[i-1].tag {
			return Header{}, fmt.Errorf("tag %d twice", tag)
		}
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

// find returns the entry of tag, an empty one if the header has none.
func (h Header) find(tag uint32) entry {
	i, ok := slices.BinarySearchFunc(h.entries, tag, func(e entry, tag uint32) int { return cmp.Compare(e.tag, tag) })
	if !ok {
		return entry{}
	}
	return h.entries[i]
}

// Has reports whether the header has tag.
func (h Header) Has(tag uint32) bool { return h.find(tag).count > 0 }

// Strings returns the strings of tag; nil if the tag is absent or of another type.
func (h Header) Strings(tag uint32) []string { return h.First(tag, math.MaxInt) }

// First returns the first n strings of tag, or all if there are fewer.
func (h Header) First(tag uint32, n int) []string {
	e := h.find(tag)
	if n = min(n, e.count); n == 0 || !e.hasStrings() {
		return nil
	}
	length := 0
	for range n {
		length += bytes.IndexByte(e.data[length:], 0) + 1
	}
	out, text := make([]string, n), string(e.data[:length]) // one allocation for the text of all
	for i := range out {
		out[i], text, _ = strings.Cut(text, "\x00")
	}
	return out
}

func (e entry) hasStrings() bool {
	return e.dataType == typeString || e.dataType == typeStringArray || e.dataType == typeI18NString
}

// String returns the first string of tag, or "".
func (h Header) String(tag uint32) string {
	e := h.find(tag)
	if !e.hasStrings() {
		return ""
	}
	return string(e.data[:bytes.IndexByte(e.data, 0)])
}

// Ints returns the integers of tag, of any width; nil if the tag is absent or
// of another type.
func (h Header) Ints(tag uint32) []uint64 {
	e := h.find(tag)
	if !e.hasInts() {
		return nil
	}
	out := make([]uint64, e.count)
	for i := range out {
		out[i] = e.int(i)
	}
	return out
}

// Int returns the first integer of tag, or 0.
func (h Header) Int(tag uint32) uint64 {
	e := h.find(tag)
	if !e.hasInts() {
		return 0
	}
	return e.int(0)
}

func (e entry) hasInts() bool { return typeChar <= e.dataType && e.dataType <= typeInt64 }

// int returns the integer i of an entry that hasInts.
func (e entry) int(i int) uint64 {
	switch e.dataType {
	case typeInt16:
		return uint64(binary.BigEndian.Uint16(e.data[2*i:]))
	case typeInt32:
		return uint64(binary.BigEndian.Uint32(e.data[4*i:]))
	case typeInt64:
		return binary.BigEndian.Uint64(e.data[8*i:])
	}
	return uint64(e.data[i])
}

// Bytes returns a copy of the binary value of tag; nil if the tag is absent or
// of another type.
func (h Header) Bytes(tag uint32) []byte {
	if e := h.find(tag); e.dataType == typeBin {
		return slices.Clone(e.data)
	}
	return nil
}

// Raw returns the bytes of the header as they are in the file, which is what a
// signature of the header covers. They must not be changed.
func (h Header) Raw() []byte { return h.raw }
