package bundle

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// SealInput is everything a bundle is made of.
type SealInput struct {
	// Lock is complete: every artifact has its Blob (and Plain, when stored
	// compressed). Images, files and packages of the bundle are taken from it.
	Lock *manifests.Lock
	// Metadata are the files of yum and apt repositories that are no artifact
	// of the Lock: repodata, Packages, Release, InRelease, ….
	Metadata []FileEntry
	// Key signs; nil seals an unsigned bundle.
	Key *trust.KeyPair
	// Open returns the content of a blob; it is called once for each blob that
	// is no JSON manifest, in the order of the tar.
	Open func(digest.Digest) (io.ReadCloser, error)
}

// Seal writes the bundle of in to w and returns the digest of its index.json.
func Seal(ctx context.Context, w io.Writer, in SealInput) (digest.Digest, error) {
	return "", errors.New("seal: under construction")
}

// SealFile seals in into the file path: written as path.partial, synced,
// renamed. When verify is set the file is read back and verified before the rename.
func SealFile(ctx context.Context, path string, in SealInput, verify bool) (digest.Digest, error) {
	return "", errors.New("seal: under construction")
}
