// Package metadata holds the parts that the readers of yum and apt repositories share:
// how a file of upstream metadata is fetched and decompressed, which paths it may
// name, and which of its faults mean that it cannot be trusted.
//
//	b, err := metadata.Get(ctx, getter, base+"/repodata/repomd.xml", 4<<20)
//	address, err := metadata.Resolve(base, "Packages/c/chrony-4.3-1.el9.x86_64.rpm")
package metadata

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
)

// Limits of one metadata file. They are far above the largest repositories (EPEL 9:
// primary 90 MB, filelists 400 MB; Debian 12: Packages of main 55 MB) and keep a
// hostile one from running for ever.
const (
	MaxCompressed = 512 << 20 // bytes as they are served
	MaxOpen       = 4 << 30   // bytes after decompression
)

// Budget bounds the bytes that a reader keeps of a repository. The zero value is ready for use.
type Budget struct {
	packages, bytes int
}

const (
	maxPackages = 1 << 18   // the largest real repositories have 70,000
	maxKept     = 512 << 20 // bytes; Fedora's repository of everything needs half of that
)

// Package counts one package of the repository, whether it is kept or not.
func (b *Budget) Package() error {
	if b.packages++; b.packages > maxPackages {
		return fmt.Errorf("more than %d packages", maxPackages)
	}
	return nil
}

// Keep counts bytes of memory that are kept.
func (b *Budget) Keep(bytes int) error {
	if b.bytes += bytes; b.bytes > maxKept {
		return fmt.Errorf("more than %d bytes of packages", maxKept)
	}
	return nil
}

// ErrAltered means that the metadata of a repository cannot be trusted: it does
// not match its digest or signature, has expired, or is malformed. An error of the
// network is never of this class.
var ErrAltered = errors.New("metadata cannot be trusted")

// Getter fetches metadata; bundle/fetch implements it with rewrites, retries and
// time limits.
type Getter interface {
	// Get returns the body at url; its errors name the address. An answer longer
	// than limit bytes is an error of Get or of a Read, never a silent cut. A
	// missing file (HTTP 404) is an error for which errors.Is(err, fs.ErrNotExist)
	// holds.
	Get(ctx context.Context, url string, limit int64) (io.ReadCloser, error)
}

// Get returns the whole body at address, which has at most limit bytes.
func Get(ctx context.Context, g Getter, address string, limit int64) ([]byte, error) {
	body, err := g.Get(ctx, address, limit)
	if err != nil {
		return nil, getError{err} // names the address
	}
	defer body.Close()
	b, err := io.ReadAll(reader.Limit(body, limit))
	if err != nil {
		return nil, getError{fmt.Errorf("get %q: %w", address, err)}
	}
	return b, nil
}

// getError marks an error of the Getter without changing its text.
type getError struct{ error }

func (e getError) Unwrap() error { return e.error }

// Classify marks an error of reading a repository as ErrAltered without changing
// its text. Errors of the Getter stay as they are, except for an answer above its
// limit and for a missing signature.
func Classify(err error) error {
	_, network := errors.AsType[getError](err)
	if err == nil || network && !errors.Is(err, reader.ErrTooLarge) && !errors.Is(err, trust.ErrUnsigned) {
		return err
	}
	return altered{err}
}

type altered struct{ error }

func (a altered) Unwrap() []error { return []error{a.error, ErrAltered} }

// Resolve returns the URL of a path that metadata states, which CheckPath accepts.
func Resolve(base, path string) (string, error) {
	if err := CheckPath(path); err != nil {
		return "", err
	}
	return base + "/" + (&url.URL{Path: path}).EscapedPath(), nil
}

// CheckPath returns an error for a path of metadata that is not plain and relative: with
// scheme, host, "..", query, percent sign, backslash or control character. So neither the
// download nor our copy leaves its directory.
func CheckPath(path string) error {
	bad := strings.ContainsFunc(path, func(r rune) bool {
		return r <= 0x20 || r >= 0x7f || strings.ContainsRune(`\%?#:*"<>|`, r)
	})
	if bad || len(path) > 512 || !fs.ValidPath(path) || path == "." {
		return fmt.Errorf("location %.600q is not a plain path", path)
	}
	return nil
}

// Decompress returns the content of r, which is recognised by its first bytes:
// gzip, xz, zstd, bzip2, or else r as it is. Close releases the decoder.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(r)
	head, _ := buffered.Peek(6) // an error comes again with the first Read
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		x, err := xz.NewReader(buffered)
		return io.NopCloser(x), err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	}
	return io.NopCloser(buffered), nil
}

// Gzip compresses b deterministically: fixed level, no name, no time.
func Gzip(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
