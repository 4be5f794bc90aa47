package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
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

	f    *durable.Stream // the one that is being written; nil before the first
	n    int64           // bytes of f, with those that are held
	next *block          // its first bytes are held: they are not in f yet
	held int
	sum  *partSum // of f
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
	if err := removeFile(durable.Partial(path + partsSuffix)); err != nil {
		return nil, err
	}
	return &output{path: path, limit: limit}, nil
}

// expect returns an error of class syscall.ENOSPC if size bytes do not fit beside the
// files that are there, one of which the output may replace only at its end. The members
// in stored are files in the directory from, with which the output may share them.
func (o *output) expect(size int64, stored []tarfile.Member, from string) error {
	dir := filepath.Dir(o.path)
	free, _, err := Space(dir)
	if err != nil || size <= free {
		return err
	}
	if from != "" && durable.Shares(from, dir) {
		size -= o.shareable(stored)
	}
	if size > free {
		return fmt.Errorf("%q needs %s, found %s free: %w", o.path, FormatSize(size), FormatSize(free), unix.ENOSPC)
	}
	return nil
}

// shareable returns how many bytes of the members need no space on a file system that
// shares blocks: less 1 percent, for its own records.
func (o *output) shareable(members []tarfile.Member) int64 {
	if o.limit%durable.ShareUnit != 0 {
		return 0 // content is at other places in the parts
	}
	var n int64
	for _, m := range members {
		if m.Size >= shareLeast && m.Offset%durable.ShareUnit == 0 {
			n += m.Size &^ (durable.ShareUnit - 1)
		}
	}
	return n - n/100
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.WriteContent(bytes.NewReader(p), int64(len(p)))
	return int(n), err
}

// WriteContent implements tarfile.ContentWriter: content that lies in a file is shared with
// it as far as the file system can, and else read into the block that is hashed and written.
func (o *output) WriteContent(r io.Reader, size int64) (n int64, err error) {
	src, ok := r.(*source)
	if !ok {
		src = &source{r: r}
	}
	for n < size && err == nil {
		if o.f == nil || o.limit > 0 && o.n == o.limit {
			if err := o.begin(); err != nil {
				return n, err
			}
		}
		left := size - n
		if o.limit > 0 {
			left = min(left, o.limit-o.n)
		}
		var k int64
		if src.file != nil && left >= shareLeast {
			k, err = o.share(src, left)
		}
		if k == 0 && err == nil {
			k, err = o.read(src, left)
		}
		n += k
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// shareLeast is how many bytes are worth sharing: fewer are as cheap to write.
const shareLeast = 64 << 10

// share appends at most size bytes of src without writing them: they are read for their
// digests only. It returns 0 if the file system cannot do that.
func (o *output) share(src *source, size int64) (int64, error) {
	if err := o.flush(); err != nil {
		return 0, err
	}
	shared := o.f.Share(src.file, src.at(), size)
	for n := int64(0); n < shared; {
		k, err := o.take(src, shared-n)
		if err != nil {
			return n, fmt.Errorf("hash what was copied: %w", reader.Whole(err))
		}
		n += k
		if o.held == hashBuffer || n == shared {
			o.drop()
		}
	}
	return shared, nil
}

// read appends at most size bytes of src.
func (o *output) read(src *source, size int64) (int64, error) {
	k, err := o.take(src, size)
	if o.held == hashBuffer {
		if err := o.flush(); err != nil {
			return k, err
		}
	}
	return k, err
}

// take reads and hashes bytes of src, which are held then.
func (o *output) take(src *source, size int64) (int64, error) {
	p := o.next.b[o.held:min(hashBuffer, int64(o.held)+size)]
	k, err := src.r.Read(p)
	src.sum.add(o.next, p[:k])
	o.sum.add(o.next, p[:k])
	o.held += k
	o.n += int64(k)
	return int64(k), err
}

// flush writes the bytes that are held.
func (o *output) flush() error {
	if o.held == 0 {
		return nil
	}
	_, err := o.f.Write(o.next.b[:o.held])
	o.drop()
	return o.failure(err)
}

// drop forgets the bytes that are held.
func (o *output) drop() {
	o.next.release()
	o.next, o.held = newBlock(), 0
}

// begin ends the file that is being written and begins another one.
func (o *output) begin() error {
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
	o.f, o.n, o.next, o.held, o.sum = &durable.Stream{File: f}, 0, newBlock(), 0, newPartSum()
	return nil
}

// end syncs the file that is being written to the device and closes it.
func (o *output) end() error {
	if o.f == nil {
		return nil
	}
	err := o.flush()
	f, entry := o.close()
	if err == nil {
		err = o.failure(f.Sync())
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	// Best effort: otherwise the read back would come from memory, not the device.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	o.parts = append(o.parts, entry)
	return o.failure(f.Close())
}

// close ends the hashing of the file that is being written, and returns the file.
func (o *output) close() (*durable.Stream, partEntry) {
	f, entry := o.f, o.sum.entry()
	o.next.release()
	o.f = nil
	return f, entry
}

func (o *output) failure(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("seal: write %q: %w", o.files[len(o.files)-1], err)
}

// discard closes and removes the files.
func (o *output) discard() error {
	var errs []error
	if o.f != nil {
		f, _ := o.close()
		errs = append(errs, f.Close())
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
