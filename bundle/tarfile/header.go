package tarfile

import (
	"bytes"
	"fmt"
	"strconv"
)

const (
	blockSize   = 512
	trailerSize = 2 * blockSize

	// maxOctal is the largest size that eleven octal digits hold.
	maxOctal = 1<<33 - 1
	// maxUstarName is the length of the name field; the prefix field stays empty.
	maxUstarName = 100
	// contentUnit is where the content of a large member begins: at a multiple of it, in
	// bytes. File systems that share blocks between files share such content.
	contentUnit = 4096
	// alignFrom is the size of a large member in bytes. Its header grows by nine blocks at
	// most, 7 percent of the smallest; to share less would not pay for that.
	alignFrom = 64 << 10
	// maxHeader is the length of the longest encoded header: pax header, records of
	// up to a unit, header.
	maxHeader = contentUnit + 2*blockSize

	typeRegular = '0'
	typePax     = 'x'

	// paxName is the name of every pax extended header.
	paxName = "PaxHeaders/0"
)

// Offsets and lengths of the header fields, POSIX.1-2017 pax, "ustar Interchange Format".
const (
	offName  = 0
	offMode  = 100
	offUID   = 108
	offGID   = 116
	offSize  = 124
	offMtime = 136
	offSum   = 148
	offType  = 156
	offMagic = 257
	offMajor = 329
	offMinor = 337
)

// encodeHeader returns the blocks that stand before the content of a member if they
// begin at offset off: the only encoding of (name, size, off) that the Writer writes. The
// content of a large member begins at a unit.
func encodeHeader(name string, size, off int64) []byte { return appendHeader(nil, name, size, off) }

func appendHeader(b []byte, name string, size, off int64) []byte {
	unit := int64(blockSize)
	if size >= alignFrom {
		unit = contentUnit
	}
	return appendAt(b, name, size, off, unit)
}

// encodeOld returns the blocks of a container that has no content at units, as the Writer of
// older offk8s wrote it.
func encodeOld(name string, size int64) []byte { return appendOld(nil, name, size) }

func appendOld(b []byte, name string, size int64) []byte {
	return appendAt(b, name, size, 0, blockSize)
}

// appendAt ends the blocks at a multiple of unit: the last record is a comment of spaces
// that fills the blocks up.
func appendAt(b []byte, name string, size, off, unit int64) []byte {
	rest := func(blocks int64) int64 { return -(off + blocks*blockSize) & (unit - 1) }
	if len(name) <= maxUstarName && size <= maxOctal && rest(1) == 0 {
		return appendBlock(b, name, size, typeRegular)
	}
	start := len(b)
	b = append(b, make([]byte, blockSize)...)
	records := len(b)
	ustarName, ustarSize := name, size
	if len(name) > maxUstarName {
		b = append(b, paxRecord("path", name)...)
		ustarName = name[:maxUstarName]
	}
	if size > maxOctal {
		b = append(b, paxRecord("size", strconv.FormatInt(size, 10))...)
		ustarSize = 0
	}
	if n := len(b) - records; n == 0 || rest(3) != 0 {
		b = appendComment(b, blockSize+int(rest(3))-n)
	}
	n := int64(len(b) - records)
	putBlock(b[start:records], paxName, n, typePax)
	b = append(b, make([]byte, padding(n))...)
	return appendBlock(b, ustarName, ustarSize, typeRegular)
}

func appendBlock(b []byte, name string, size int64, typeflag byte) []byte {
	b = append(b, make([]byte, blockSize)...)
	putBlock(b[len(b)-blockSize:], name, size, typeflag)
	return b
}

// putBlock encodes into b, which is zero.
func putBlock(b []byte, name string, size int64, typeflag byte) {
	copy(b[offName:], name)
	copy(b[offMode:], "0000644")
	copy(b[offUID:], "0000000")
	copy(b[offGID:], "0000000")
	putOctal(b[offSize:offSize+11], size)
	copy(b[offMtime:], "00000000000")
	copy(b[offMajor:], "0000000")
	copy(b[offMinor:], "0000000")
	copy(b[offMagic:], "ustar\x0000")
	b[offType] = typeflag

	copy(b[offSum:], "        ")
	var sum int64
	for _, c := range b {
		sum += int64(c)
	}
	putOctal(b[offSum:offSum+6], sum)
	b[offSum+6] = 0
}

// putOctal fills b with the octal digits of n.
func putOctal(b []byte, n int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = '0' + byte(n&7)
		n >>= 3
	}
}

// paxRecord returns "length key=value\n", where length counts itself.
func paxRecord(key, value string) string {
	n := len(key) + len(value) + 3
	total := n + len(strconv.Itoa(n))
	if len(strconv.Itoa(total)) > len(strconv.Itoa(n)) {
		total = n + len(strconv.Itoa(total))
	}
	return fmt.Sprintf("%d %s=%s\n", total, key, value)
}

// appendComment appends a record of n bytes, at least 100, that readers ignore: POSIX.1-2017
// pax, "pax Extended Header", keyword comment.
func appendComment(b []byte, n int) []byte {
	end := len(b) + n
	b = append(strconv.AppendInt(b, int64(n), 10), " comment="...)
	for len(b) < end-1 {
		b = append(b, ' ')
	}
	return append(b, '\n')
}

// padding returns the number of zero bytes after size bytes of content.
func padding(size int64) int64 { return -size & (blockSize - 1) }

// field returns a NUL-terminated header field.
func field(b []byte, off, n int) string {
	f := b[off : off+n]
	if i := bytes.IndexByte(f, 0); i >= 0 {
		f = f[:i]
	}
	return string(f)
}

// decodeOctal reads exactly eleven octal digits; anything else (spaces, signs,
// base-256) is refused before the re-encoding would refuse it.
func decodeOctal(s string) (int64, bool) {
	if len(s) != 11 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '7' {
			return 0, false
		}
		n = n<<3 | int64(s[i]-'0')
	}
	return n, true
}

// decodePax reads the records of an extended header: path, size and comment, each at
// most once, in this order. The value of the comment is left to the re-encoding.
func decodePax(b []byte) (path, size string, ok bool) {
	last := ""
	for len(b) > 0 {
		sp := bytes.IndexByte(b, ' ')
		if sp < 1 || sp > 4 {
			return "", "", false
		}
		n, err := strconv.Atoi(string(b[:sp]))
		if err != nil || n <= sp+1 || n > len(b) {
			return "", "", false
		}
		key, value, found := bytes.Cut(bytes.TrimSuffix(b[sp+1:n], []byte("\n")), []byte("="))
		switch {
		case !found || len(value) == 0:
			return "", "", false
		case string(key) == "path" && last == "":
			path = string(value)
		case string(key) == "size" && (last == "" || last == "path"):
			size = string(value)
		case string(key) == "comment" && last != "comment":
		default:
			return "", "", false
		}
		last, b = string(key), b[n:]
	}
	return path, size, last != ""
}
