// Package metadatatest has the parts of made-up package repositories, for the tests of yum and
// apt.
package metadatatest

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/offk8s/offk8s/bundle/trust"
)

// Base is the address of the repository.
const Base = "https://example.test/repo"

// Files are the files of the repository, by their paths below Base.
type Files map[string][]byte

// Get implements metadata.Getter.
func (f Files) Get(_ context.Context, at string, limit int64) (io.ReadCloser, error) {
	b, ok := f[strings.TrimPrefix(at, Base+"/")]
	if !ok {
		return nil, fmt.Errorf("%q: %w", at, fs.ErrNotExist)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%q: longer than %d", at, limit)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// Compress compresses b in one of the forms that repositories use: gz, xz or zst, with or
// without a dot before it. It returns b for any other.
func Compress(t testing.TB, b []byte, form string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch strings.TrimPrefix(form, ".") {
	case "gz":
		w = gzip.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	case "zst":
		w, err = zstd.NewWriter(&out)
	default:
		return b
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Created is when the keys were made.
var Created = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// RSA keys take a second each to make: two are made for all tests.
var (
	makeKey      = sync.OnceValues(func() (*trust.KeyPair, error) { return trust.GenerateKeys(Created) })
	makeStranger = sync.OnceValues(func() (*trust.KeyPair, error) { return trust.GenerateKeys(Created) })
)

// Key returns the key that signs the repository, and a keyring with it.
func Key(t testing.TB) (*trust.KeyPair, *trust.Keyring) {
	t.Helper()
	return withRing(t, makeKey)
}

// Stranger returns the key of somebody else, and a keyring with it.
func Stranger(t testing.TB) (*trust.KeyPair, *trust.Keyring) {
	t.Helper()
	return withRing(t, makeStranger)
}

func withRing(t testing.TB, key func() (*trust.KeyPair, error)) (*trust.KeyPair, *trust.Keyring) {
	t.Helper()
	keys, err := key()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := trust.ReadKeyring(keys.OpenPGPPublic)
	if err != nil {
		t.Fatal(err)
	}
	return keys, ring
}
