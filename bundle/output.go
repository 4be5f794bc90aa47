package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/durable"
)

// partialSuffix marks a file that is being written. The next run replaces it.
const partialSuffix = ".partial"

// MaxFAT is the largest file of a FAT32 file system in bytes.
const MaxFAT = 1<<32 - 1

// AutoSplit returns the limit on the size of a file in the directory of path: MaxFAT
// if it is on FAT, else 0 for none.
func AutoSplit(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: filepath.Dir(path), Err: err}
	}
	if st.Type == unix.MSDOS_SUPER_MAGIC {
		return MaxFAT, nil
	}
	return 0, nil
}

// SealedFile is a file of a bundle that was written.
type SealedFile struct {
	Path   string        `json:"path"`
	Size   int64         `json:"size"` // bytes
	Digest digest.Digest `json:"digest"`
}

// output writes a bundle to one file, or to parts if it has more than limit bytes.
// All have names with partialSuffix until commit.
type output struct {
	path  string
	limit int64 // bytes of a file; 0: none
	files []string
	parts []partEntry
	check func(ctx context.Context, path string) error // as SealInput.Check

	f     *durable.Stream // the one that is being written; nil before the first
	sum   *hasher         // of f; its buffer is not in f yet
	n     int64           // bytes of f
	start []byte          // the first ones of f
}

// newOutput removes the parts that an interrupted run has left.
func newOutput(path string, limit int64) (*output, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, partial := strings.CutSuffix(e.Name(), partialSuffix)
		if partial && partSuffix.MatchString(name) && partSuffix.Regexp().ReplaceAllString(name, "") == base {
			if err := os.Remove(dir + e.Name()); err != nil {
				return nil, err
			}
		}
	}
	return &output{path: path, limit: limit}, nil
}

// expect returns an error of class syscall.ENOSPC if size bytes do not fit beside the
// files that are there, one of which the output may replace only at its end.
func (o *output) expect(size int64) error {
	free, _, err := Space(filepath.Dir(o.path))
	if err == nil && size > free {
		err = fmt.Errorf("%q needs %s, free are %s: %w", o.path, FormatSize(size), FormatSize(free), unix.ENOSPC)
	}
	return err
}

func (o *output) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		if o.f == nil || o.limit > 0 && o.n == o.limit {
			if err := o.next(); err != nil {
				return written, err
			}
		}
		piece := p
		if o.limit > 0 {
			piece = p[:min(int64(len(p)), o.limit-o.n)]
		}
		n := o.sum.fill(piece)
		o.start = append(o.start, piece[:min(n, partStart-len(o.start))]...)
		o.n += int64(n)
		written += n
		p = p[n:]
		if len(o.sum.buf) < cap(o.sum.buf) {
			continue
		}
		if _, err := o.f.Write(o.sum.buf); err != nil {
			return written, o.failure(err)
		}
		o.sum.next()
	}
	return written, nil
}

// next ends the file that is being written and begins another one.
func (o *output) next() error {
	if err := o.end(); err != nil {
		return err
	}
	name := o.path
	if o.limit > 0 {
		name = partName(o.path, len(o.files)+1)
	}
	if len(o.files) == maxParts {
		return fmt.Errorf("seal: more than %d parts of %d bytes", maxParts, o.limit)
	}
	f, err := os.OpenFile(name+partialSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	o.files = append(o.files, f.Name())
	o.f, o.sum, o.n, o.start = &durable.Stream{File: f}, newHasher(digest.SHA256), 0, nil
	return nil
}

// end syncs the file that is being written to the device and closes it.
func (o *output) end() error {
	if o.f == nil {
		return nil
	}
	f := o.f
	o.f = nil
	_, err := f.Write(o.sum.buf)
	sum := o.sum.digest()
	if err := errors.Join(err, f.Sync()); err != nil {
		return errors.Join(o.failure(err), f.Close())
	}
	// Best effort: otherwise the read back would come from memory, not the device.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if err := f.Close(); err != nil {
		return o.failure(err)
	}
	o.parts = append(o.parts, partEntry{Size: o.n, Digest: sum, Start: digest.FromBytes(o.start)})
	return nil
}

func (o *output) failure(err error) error {
	return fmt.Errorf("seal: write %q: %w", o.files[len(o.files)-1], err)
}

// discard closes and removes the files.
func (o *output) discard() error {
	var errs []error
	if o.f != nil {
		o.sum.digest() // ends it
		errs = append(errs, o.f.Close())
	}
	for _, name := range o.files {
		errs = append(errs, removeFile(name))
	}
	return errors.Join(errs...)
}

// present calls check with a path in a directory of its own, in which links have the
// names of the bundle's files.
func (o *output) present(ctx context.Context, list []byte) (err error) {
	dir, err := os.MkdirTemp("", "offk8s-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, name := range o.files {
		at, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		if err := os.Symlink(at, filepath.Join(dir, strings.TrimSuffix(filepath.Base(name), partialSuffix))); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, filepath.Base(o.path))
	if list != nil {
		if err := os.WriteFile(path+partsSuffix, list, 0o600); err != nil {
			return err
		}
	}
	return o.check(ctx, path)
}

// commit gives the files their names and removes the other form of the bundle that
// they replace. While the files of a bundle in parts get their names, there is no
// list of them, so that no mixture passes for a bundle.
func (o *output) commit(list []byte) ([]SealedFile, error) {
	if len(o.files) == 1 {
		if err := durable.Rename(o.files[0], o.path); err != nil {
			return nil, err
		}
		return []SealedFile{{o.path, o.parts[0].Size, o.parts[0].Digest}}, removeParts(o.path, 0)
	}
	if err := removeParts(o.path, len(o.files)); err != nil {
		return nil, err
	}
	var out []SealedFile
	for i, name := range o.files {
		part := partName(o.path, i+1)
		if err := os.Rename(name, part); err != nil {
			return nil, err
		}
		out = append(out, SealedFile{part, o.parts[i].Size, o.parts[i].Digest})
	}
	if err := removeFile(o.path); err != nil {
		return nil, err
	}
	name := o.path + partsSuffix
	out = append(out, SealedFile{name, int64(len(list)), digest.FromBytes(list)})
	return out, durable.WriteFile(name, list, 0o644)
}

// removeParts removes the list of parts of the bundle at path, and the parts after
// the first keep.
func removeParts(path string, keep int) error {
	names, err := partFiles(path)
	if err != nil || len(names) == 0 {
		return err
	}
	if err := removeFile(path + partsSuffix); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	for _, name := range names {
		if name > partName(path, keep) && partSuffix.MatchString(name) {
			if err := removeFile(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeFile removes a file, which may be gone already, but never a directory.
func removeFile(name string) error {
	err := unix.Unlink(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &fs.PathError{Op: "remove", Path: name, Err: err}
}
