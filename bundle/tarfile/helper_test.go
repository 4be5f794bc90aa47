package tarfile

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

type file struct{ name, content string }

var sample = []file{
	{"oci-layout", "{}"},
	{"empty", ""},
	{"blobs/sha256/" + hex64, string(bytes.Repeat([]byte("x"), blockSize))},
	{"blobs/sha512/" + hex64 + hex64, "a name over 100 bytes"},
	{"large", strings.Repeat("z", alignFrom+1)},
	{"blobs/sha512/" + hex64 + "1" + hex64[1:], strings.Repeat("a large one with a long name", alignFrom/20)},
	{"last", string(bytes.Repeat([]byte("y"), blockSize+1))},
}

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// build writes a container of files.
func build(t testing.TB, files []file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, f := range files {
		if err := w.Add(f.name, int64(len(f.content)), bytes.NewReader([]byte(f.content))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// buildOld writes a container of files as older offk8s did.
func buildOld(files []file) []byte {
	var b []byte
	for _, f := range files {
		size := int64(len(f.content))
		b = slices.Concat(b, encodeOld(f.name, size), []byte(f.content), make([]byte, padding(size)))
	}
	return append(b, make([]byte, trailerSize)...)
}

func index(t testing.TB, b []byte) (*Index, error) {
	t.Helper()
	return ReadIndex(t.Context(), bytes.NewReader(b), int64(len(b)))
}

// refused demands one of the errors of a malformed container.
func refused(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrName) {
		t.Errorf("not refused: %v", err)
	}
}

// sparse is a huge file of zeros with pieces in it, for sizes that no test can
// hold.
type sparse struct {
	size   int64
	pieces map[int64][]byte
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-off))
	clear(p[:n])
	for at, piece := range s.pieces {
		if from, to := max(at, off), min(at+int64(len(piece)), off+int64(n)); from < to {
			copy(p[from-off:to-off], piece[from-at:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// spoil returns the sample header of name and size with field changes, its
// checksum made right again.
func spoil(name string, size int64, change func(block []byte)) []byte {
	b := encodeBlock(name, size, typeRegular)
	change(b)
	fixSum(b)
	return b
}

func fixSum(b []byte) {
	copy(b[offSum:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	for i := range 6 {
		b[offSum+5-i] = byte('0' + sum>>(3*i)&7)
	}
	b[offSum+6], b[offSum+7] = 0, ' '
}

// withTrailer ends a hand-made container.
func withTrailer(parts ...[]byte) []byte {
	return append(bytes.Join(parts, nil), make([]byte, trailerSize)...)
}
