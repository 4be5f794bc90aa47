// Package unpack takes single members out of upstream release archives: tar,
// plain or gzip-compressed, which the first bytes show. It is the only importer
// of archiver.
//
//	err := unpack.Members(ctx, archive, []string{"bin/runc"}, func(name string, size int64, r io.Reader) error { … })
//
// Members are named by their exact path; others are skipped. Nothing is written,
// and no path of an archive ever becomes a path of the file system. Other formats
// are refused, so that no other decoder of archiver reads untrusted input.
package unpack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/mholt/archiver/v4"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Limits of an archive. The Kubernetes server tarball, the largest that is
// known, has some 60 members and 1.5 GB.
const (
	maxMembers    = 100_000
	maxMemberSize = 4 << 30
	maxTotal      = 16 << 30
)

// Sentinels of Members.
var (
	// ErrFormat means that the archive is neither tar nor gzip-compressed tar.
	ErrFormat = errors.New("not a tar or tar.gz archive")
	// ErrMissing means that a wanted member is not in the archive.
	ErrMissing = errors.New("member is not in the archive")
	// ErrMember means that a wanted member cannot be taken, because it is a link,
	// a device, a duplicate, or too large.
	ErrMember = errors.New("member cannot be taken")
)

// Func gets one member: its name as wanted, its size in bytes and its content,
// which is valid until Func returns. Content that Func leaves unread is skipped.
type Func func(name string, size int64, r io.Reader) error

// Members calls f for each of names, in the order of the archive r. A leading
// "./" in the archive is ignored. The error lists all missing names. Members
// reads the archive to its end, so that a second member of a wanted name or a
// broken archive is an error even if all wanted members came before it.
func Members(ctx context.Context, r io.Reader, names []string, f Func) error {
	tarball, err := open(r)
	if err != nil {
		return err
	}
	defer tarball.Close()
	v := visitor{wanted: names, f: f, seen: map[string]bool{}}
	limited := reader.Limit(tarball, maxTotal) // gzip can inflate a small archive
	if err := (archiver.Tar{}).Extract(ctx, limited, v.visit); err != nil {
		return err
	}
	// What follows the end of the tar still has to be sound gzip.
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return fmt.Errorf("after the last member: %w", err)
	}
	var missing []error
	for _, name := range names {
		if !v.seen[name] {
			missing = append(missing, fmt.Errorf("%w: %q", ErrMissing, name))
		}
	}
	return errors.Join(missing...)
}

// open returns the tar stream in r after a look at the magic bytes.
func open(r io.Reader) (io.ReadCloser, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	all := io.MultiReader(bytes.NewReader(head), r)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return archiver.Gz{}.OpenReader(all)
	case len(head) == 512 && string(head[257:262]) == "ustar":
		return io.NopCloser(all), nil
	}
	return nil, ErrFormat
}

type visitor struct {
	wanted  []string
	f       Func
	seen    map[string]bool
	members int
}

func (v *visitor) visit(_ context.Context, file archiver.FileInfo) error {
	if v.members++; v.members > maxMembers {
		return fmt.Errorf("%w: more than %d members", ErrMember, maxMembers)
	}
	name := strings.TrimPrefix(file.NameInArchive, "./")
	if !slices.Contains(v.wanted, name) {
		return nil
	}
	switch {
	case v.seen[name]:
		return fmt.Errorf("%w: %q appears twice", ErrMember, name)
	case !file.Mode().IsRegular() || file.LinkTarget != "":
		return fmt.Errorf("%w: %q is a %s, want a regular file", ErrMember, name, kind(file))
	case file.Size() < 0 || file.Size() > maxMemberSize:
		return fmt.Errorf("%w: %q has %d bytes, limit %d", ErrMember, name, file.Size(), int64(maxMemberSize))
	}
	v.seen[name] = true
	rc, err := file.Open()
	if err != nil {
		return err
	}
	defer rc.Close()
	return v.f(name, file.Size(), io.LimitReader(rc, file.Size()))
}

func kind(file archiver.FileInfo) string {
	switch {
	case file.Mode()&fs.ModeSymlink != 0:
		return "symbolic link"
	case file.LinkTarget != "":
		return "hard link"
	case file.IsDir():
		return "directory"
	}
	return "special file"
}

// CheckName reports whether name can be wanted: a clean relative path.
func CheckName(name string) error {
	if name == "" || path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("archive member %q: not a clean relative path", name)
	}
	return nil
}
