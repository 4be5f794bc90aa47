package mirror

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
)

// Bundle is what a mirror needs of an open bundle; *bundle.Bundle has it. All
// methods must be safe for concurrent use.
type Bundle interface {
	Root() digest.Digest
	Lock() *manifests.Lock
	Images() []bundle.ImageEntry
	Files() []bundle.FileEntry
	// Blob returns the stored bytes of a blob, an error when the bundle lacks it.
	Blob(d digest.Digest) (*io.SectionReader, error)
	// Path returns the file that the blobs lie in, "" when they lie in none, and
	// Offset where in it the stored bytes of a blob begin, and their length.
	Path() string
	Offset(d digest.Digest) (off, size int64, ok bool)
	// HeadFile returns a member before the blobs, nil when there is none.
	HeadFile(name string) []byte
	// OpenPGPKey returns the armoured public key of the repositories, nil when there is none.
	OpenPGPKey() []byte
}

var _ Bundle = (*bundle.Bundle)(nil)

// opened is a bundle with a file of the mirror's own over its blobs: sendfile
// needs an *os.File, and Bundle hands out none. Should another file lie at the
// path by now, the digests show it: manifests are checked when they are read,
// everything else by the scrub.
type opened struct {
	Bundle
	file *os.File // nil when the blobs lie in no file
}

func openBundle(b Bundle) (*opened, error) {
	if b.Path() == "" {
		return &opened{Bundle: b}, nil
	}
	f, err := os.Open(b.Path())
	if err != nil {
		return nil, fmt.Errorf("mirror: bundle %s: %w", b.Root(), err)
	}
	return &opened{b, f}, nil
}

// Blob is Bundle.Blob over the own file.
func (o *opened) Blob(d digest.Digest) (*io.SectionReader, error) {
	if o.file == nil {
		return o.Bundle.Blob(d)
	}
	off, size, ok := o.Offset(d)
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
	}
	return io.NewSectionReader(o.file, off, size), nil
}

func (o *opened) close() error {
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}
