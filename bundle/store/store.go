package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// Sentinels of a store.
var (
	// ErrLocked means that another process, or another Store of this one, has
	// the directory open (exit code 11).
	ErrLocked = errors.New("store is in use")
	// ErrNotFound means that the store has no such blob. It wraps fs.ErrNotExist.
	ErrNotFound = fmt.Errorf("not in the store: %w", fs.ErrNotExist)
	// ErrDigest means that content does not have the digest or size of its
	// descriptor.
	ErrDigest = reader.ErrMismatch
)

const (
	blobsDir   = "blobs"
	partialDir = "partial"
	tmpDir     = "tmp"
	lockFile   = "lock"
)

// Store is an open store. Its methods are safe for concurrent use; the same
// blob put twice at a time is written twice and ends up there once.
type Store struct {
	dir    string
	unlock func() error
}

// Open opens the store in dir, creates it if necessary, locks it and removes
// the files that a crash left in tmp. The error is ErrLocked if another
// process has the store open (see durable.Lock).
func Open(dir string) (*Store, error) {
	for _, sub := range []string{blobsDir, partialDir, tmpDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	unlock, err := durable.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, durable.ErrLocked) {
		err = fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", dir, err)
	}
	s := &Store{dir: dir, unlock: unlock}
	if err := s.clearTmp(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %q: %w", dir, err), s.Close())
	}
	return s, nil
}

// Close makes the names of new blobs durable and releases the lock. Files that Get
// returned stay readable.
func (s *Store) Close() error { return errors.Join(s.sync(), s.unlock()) }

// sync syncs the directories of blobs, once for all blobs: one sync for each would take
// longer than the content of small ones.
func (s *Store) sync() error {
	blobs := filepath.Join(s.dir, blobsDir)
	algorithms, err := os.ReadDir(blobs)
	if err != nil {
		return err
	}
	for _, a := range algorithms {
		if !a.IsDir() {
			continue
		}
		if err := durable.SyncDir(filepath.Join(blobs, a.Name())); err != nil {
			return err
		}
	}
	return durable.SyncDir(blobs)
}

// Dir returns the directory of the store.
func (s *Store) Dir() string { return s.dir }

func (s *Store) clearTmp() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, tmpDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.dir, tmpDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// path returns the path of a blob, after validating the digest.
func (s *Store) path(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	return filepath.Join(s.dir, blobsDir, d.Algorithm().String(), d.Encoded()), nil
}

// Has reports whether the store has a blob of that name. It does not read it.
func (s *Store) Has(d digest.Digest) bool {
	path, err := s.path(d)
	if err != nil {
		return false
	}
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

// Get opens a blob for reading. The error is ErrNotFound if there is none. If
// the size is known, use Open.
func (s *Store) Get(d digest.Digest) (*os.File, error) {
	path, err := s.path(d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	return f, err
}

// Open opens a blob. The error is ErrDigest if its size is not want.Size, and
// ErrNotFound if there is no such blob. The content is not hashed.
func (s *Store) Open(want manifests.Descriptor) (*os.File, error) {
	f, err := s.Get(want.Digest)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != want.Size {
		err = fmt.Errorf("blob %s: %w: %d bytes in the store, expected %d", want.Digest, ErrDigest, info.Size(), want.Size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Remove deletes a blob, such as one that Verify returned. If there is no such
// blob, Remove returns nil.
func (s *Store) Remove(d digest.Digest) error {
	path, err := s.path(d)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Partial returns the path for an unfinished download of d. It is in the file
// system of the store, so that Import only renames, and is kept after a crash, so
// that the download can resume. The file need not exist.
func (s *Store) Partial(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	return filepath.Join(s.dir, partialDir, d.Algorithm().String()+"-"+d.Encoded()), nil
}

// Temp returns a new empty file in the store's file system for content whose
// digest is not known yet. The caller removes it; after a crash the next Open
// does.
func (s *Store) Temp() (*os.File, error) {
	return os.CreateTemp(filepath.Join(s.dir, tmpDir), "temp-*")
}

// Verify hashes every blob and returns the damaged ones, sorted. It removes
// nothing.
func (s *Store) Verify(ctx context.Context) ([]digest.Digest, error) {
	var bad []digest.Digest
	err := s.each(func(d digest.Digest, path string, _ fs.FileInfo) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, reader.Verify(reader.Context(ctx, f), d, reader.AnySize))
		if errors.Is(err, reader.ErrMismatch) {
			bad = append(bad, d)
			return nil
		}
		return err
	})
	if err != nil {
		return bad, fmt.Errorf("verify store: %w", err)
	}
	return bad, nil
}

// Prune deletes every blob and unfinished download for which keep returns false
// and returns the number of bytes freed. Files that are not blobs are kept.
func (s *Store) Prune(ctx context.Context, keep func(digest.Digest) bool) (freed int64, err error) {
	remove := func(d digest.Digest, path string, info fs.FileInfo) error {
		if err := ctx.Err(); err != nil || keep(d) {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		freed += info.Size()
		return nil
	}
	if err := errors.Join(s.each(remove), s.eachPartial(remove)); err != nil {
		return freed, fmt.Errorf("prune store: %w", err)
	}
	return freed, nil
}

// List calls fn for every blob in the order of its digest.
func (s *Store) List(fn func(manifests.Descriptor) error) error {
	return s.each(func(d digest.Digest, _ string, info fs.FileInfo) error {
		return fn(manifests.Descriptor{Digest: d, Size: info.Size()})
	})
}

// each calls fn for the blobs in order and skips other files.
func (s *Store) each(fn func(digest.Digest, string, fs.FileInfo) error) error {
	algorithms, err := os.ReadDir(filepath.Join(s.dir, blobsDir))
	if err != nil {
		return err
	}
	for _, a := range algorithms {
		dir := filepath.Join(s.dir, blobsDir, a.Name())
		if err := visit(dir, a.Name()+":", fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) eachPartial(fn func(digest.Digest, string, fs.FileInfo) error) error {
	return visit(filepath.Join(s.dir, partialDir), "", fn)
}

func visit(dir, prefix string, fn func(digest.Digest, string, fs.FileInfo) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := prefix + e.Name()
		if prefix == "" {
			name = partialDigest(e.Name())
		}
		d, err := digest.Parse(name)
		if err != nil || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := fn(d, filepath.Join(dir, e.Name()), info); err != nil {
			return err
		}
	}
	return nil
}
