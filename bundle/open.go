package bundle

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// OpenOptions say whom to trust. The zero value refuses every bundle.
type OpenOptions struct {
	// Keys are the trusted public keys.
	Keys []trust.PublicKey
	// AllowUnsigned accepts a bundle without any signature, and with no Keys
	// also a signed one whose signature is then not checked.
	AllowUnsigned bool
}

// Bundle is an open bundle. It is safe for concurrent use.
type Bundle struct {
	images []ImageEntry
	files  []FileEntry
	lock   *manifests.Lock
	config Config
	root   digest.Digest
}

// Open opens the bundle that lies in paths (one file today).
func Open(ctx context.Context, paths []string, o OpenOptions) (*Bundle, error) {
	return nil, errors.New("open: under construction")
}

// OpenReader is Open over a reader of size bytes; Path is then empty.
func OpenReader(ctx context.Context, r io.ReaderAt, size int64, o OpenOptions) (*Bundle, error) {
	return nil, errors.New("open: under construction")
}

// Root returns the digest of index.json: the identity of the bundle.
func (b *Bundle) Root() digest.Digest { return b.root }

// Lock returns the Lock; callers must not change it.
func (b *Bundle) Lock() *manifests.Lock { return b.lock }

// Config returns the config blob.
func (b *Bundle) Config() Config { return b.config }

// Signer returns the key that signed the bundle, false when unsigned or not checked.
func (b *Bundle) Signer() (trust.PublicKey, bool) { return trust.PublicKey{}, false }

// OpenPGPKey returns the armoured OpenPGP public key of the repositories, nil when there is none.
func (b *Bundle) OpenPGPKey() []byte { return nil }

// Images returns the images sorted by name; callers must not change the slice.
func (b *Bundle) Images() []ImageEntry { return b.images }

// Files returns the files sorted by group and path; callers must not change the slice.
func (b *Bundle) Files() []FileEntry { return b.files }

// Blob returns a reader over a blob as stored; its bytes are not hashed here.
func (b *Bundle) Blob(d digest.Digest) (*io.SectionReader, error) { return nil, nil }

// Descriptor returns the descriptor of a blob as its referring manifest has it
// (media type, digest, size).
func (b *Bundle) Descriptor(d digest.Digest) (ocispec.Descriptor, bool) {
	return ocispec.Descriptor{}, false
}

// HeadFile returns the content of a member before the blobs ("index.json",
// "index.json.sig", …), nil when the bundle has none of that name.
func (b *Bundle) HeadFile(name string) []byte { return nil }

// Path returns the file that holds the blobs, "" when opened from a reader.
func (b *Bundle) Path() string { return "" }

// Offset returns where in Path the stored bytes of a blob begin, and their length.
func (b *Bundle) Offset(d digest.Digest) (off, size int64, ok bool) { return 0, 0, false }

// Close releases the file.
func (b *Bundle) Close() error { return nil }
