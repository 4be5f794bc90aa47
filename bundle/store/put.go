package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// Put stores the content of r. If it does not have want.Digest and, unless that
// is zero, want.Size, nothing is stored and the error is ErrDigest. Put reads r
// to its end, at most one byte over want.Size. An existing blob is written
// again, which repairs a damaged one.
func (s *Store) Put(ctx context.Context, want manifests.Descriptor, r io.Reader) error {
	dest, err := s.path(want.Digest)
	if err != nil {
		return err
	}
	tmp, _, err := s.spool(ctx, verify(r, want))
	if err != nil {
		return fmt.Errorf("store %s: %w", want.Digest, err)
	}
	if err := publish(tmp, dest); err != nil {
		return errors.Join(fmt.Errorf("store %s: %w", want.Digest, err), os.RemoveAll(tmp))
	}
	return nil
}

// Add stores the content of r under its sha256 and returns digest and size.
func (s *Store) Add(ctx context.Context, r io.Reader) (manifests.Descriptor, error) {
	h := digest.SHA256.Digester()
	tmp, n, err := s.spool(ctx, io.TeeReader(r, h.Hash()))
	if err != nil {
		return manifests.Descriptor{}, fmt.Errorf("store: %w", err)
	}
	d := manifests.Descriptor{Digest: h.Digest(), Size: n}
	dest, err := s.path(d.Digest)
	if err == nil {
		err = publish(tmp, dest)
	}
	if err != nil {
		return manifests.Descriptor{}, errors.Join(fmt.Errorf("store %s: %w", d.Digest, err), os.RemoveAll(tmp))
	}
	return d, nil
}

// Import moves the file path, which must be in the file system of the store (see Partial
// and Temp), into the store. The caller has hashed its content while it was written:
// Import compares the size only. If that is not want.Size, the error is ErrDigest and the
// file stays where it is.
func (s *Store) Import(path string, want manifests.Descriptor) error {
	if err := s.take(path, want); err != nil {
		return fmt.Errorf("import %s: %w", want.Digest, err)
	}
	return nil
}

func (s *Store) take(path string, want manifests.Descriptor) error {
	dest, err := s.path(want.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != want.Size {
		return fmt.Errorf("%w: content has %d bytes, expected %d", ErrDigest, info.Size(), want.Size)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return publish(path, dest)
}

// spool writes r to a synced file in tmp. If it fails, it removes the file.
func (s *Store) spool(ctx context.Context, r io.Reader) (path string, n int64, err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, tmpDir), "put-*")
	if err != nil {
		return "", 0, err
	}
	n, err = io.Copy(f, reader.Context(ctx, r))
	if err == nil {
		err = f.Sync()
	}
	// A failed sync or close is final: a second try could claim success for
	// data that the kernel has dropped.
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), n, nil
}

// publish turns a synced file into a blob. Close makes its name durable: until then a power
// loss can take the blob away, but not leave a part of it.
func publish(path, dest string) error {
	if err := os.Chmod(path, 0o444); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	return os.Rename(path, dest)
}

func partialDigest(name string) string {
	return strings.Replace(name, "-", ":", 1)
}

// verify checks r against want, whose size is unknown if it is zero.
func verify(r io.Reader, want manifests.Descriptor) io.Reader {
	size := want.Size
	if size == 0 {
		size = reader.AnySize
	}
	return reader.Verify(r, want.Digest, size)
}
