package mirror

import (
	"io"

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
	// HeadFile returns a member before the blobs, nil when there is none.
	HeadFile(name string) []byte
	// OpenPGPKey returns the armoured public key of the repositories, nil when there is none.
	OpenPGPKey() []byte
}

var _ Bundle = (*bundle.Bundle)(nil)
