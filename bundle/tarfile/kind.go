package tarfile

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
)

// Kind is the kind of a file that is no container.
type Kind string

// The kinds of files that OpenFile names.
const (
	KindEmpty      Kind = "is empty"
	KindCompressed Kind = "is compressed, expected a plain tar"
	KindRepacked   Kind = "is a tar of a bundle that another program wrote"
	KindPEM        Kind = "is a key or a certificate, not a bundle"
	KindForeign    Kind = "is not a bundle"
)

// KindError is the error of a file that no Writer began. It prints its Kind, since
// the first difference from a container says less.
type KindError struct {
	Kind Kind
	Err  error // ErrFormat, ErrTruncated or ErrName
}

// Error returns the kind.
func (e *KindError) Error() string { return string(e.Kind) }

// Unwrap returns the difference from a container.
func (e *KindError) Unwrap() error { return e.Err }

// compressed are the first bytes of gzip, zstd, xz, bzip2 and lz4 files.
var compressed = []string{"\x1f\x8b", "\x28\xb5\x2f\xfd", "\xfd7zXZ\x00", "BZh", "\x04\x22\x4d\x18"}

// explain returns the error of a file that was not read as a container because of
// err.
func explain(f io.ReaderAt, size int64, err error) error {
	start := make([]byte, min(size, blockSize))
	if n, _ := f.ReadAt(start, 0); n < len(start) {
		return err
	}
	if size == 0 {
		return &KindError{KindEmpty, err}
	}
	if bytes.HasPrefix(start, []byte(firstMember+"\x00")) {
		return err // a container, but damaged
	}
	for _, magic := range compressed {
		if bytes.HasPrefix(start, []byte(magic)) {
			return &KindError{KindCompressed, err}
		}
	}
	if bytes.HasPrefix(start, []byte("-----BEGIN ")) {
		return &KindError{KindPEM, err}
	}
	if holdsBundle(io.NewSectionReader(f, 0, size)) {
		return &KindError{KindRepacked, err}
	}
	return &KindError{KindForeign, err}
}

// firstMember is the first member of every bundle.
const firstMember = "oci-layout"

// holdsBundle reports whether a tar begins with members of an image layout.
func holdsBundle(r io.Reader) bool {
	t := tar.NewReader(r)
	for range 64 {
		h, err := t.Next()
		if err != nil {
			return false
		}
		name := strings.TrimPrefix(h.Name, "./")
		if name == firstMember || name == "index.json" || strings.HasPrefix(name, "blobs/sha256/") {
			return true
		}
	}
	return false
}
