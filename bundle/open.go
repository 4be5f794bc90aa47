package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// OpenOptions are the keys to trust. The zero value refuses every bundle.
type OpenOptions struct {
	// Keys are the trusted public keys.
	Keys []trust.PublicKey
	// Fingerprints are those of more trusted keys, "sha256:<hex>" as
	// trust.PublicKey.Fingerprint returns them. The keys themselves come from the
	// bundle.
	Fingerprints []string
	// Histories are those of keys that were seen before: they may end a trusted key, or
	// name a later one.
	Histories []trust.History
	// AllowUnsigned accepts a bundle without a signature. If there are neither Keys
	// nor Fingerprints, it also accepts a bundle that any key signed, provided that
	// the bundle names this key; Signer then returns false.
	AllowUnsigned bool
	// root, if it is set, accepts the bundle with this root and no other one, whoever
	// signed it.
	root digest.Digest
	// Name is the Path of a bundle that OpenReader opens.
	Name string
}

// Bundle is an open bundle. It is immutable and safe for concurrent use until
// Close. All its slices are shared: callers must not change them.
type Bundle struct {
	r      io.ReaderAt
	index  *tarfile.Index
	file   *container // nil if opened from a reader
	name   string     // of the reader
	head   map[string][]byte
	signer *trust.PublicKey // nil unless trusted
	seen   trust.Anchors    // with the history of the bundle
	maker  *trust.PublicKey // of the signature; the bundle itself may vouch for it
	base   *Base            // of a delta, else nil
	under  *Bundle          // the open base; nil if there is none

	root digest.Digest
	bundleArtifact
	*blobSet
	images []ImageEntry
	files  []FileEntry
}

// Open opens the bundle that the first of paths leads to as Locate describes, and its
// bases among the others. It checks the signature and the digests of all documents, ours and those of images, before it parses
// them, and checks that the tar holds exactly the members that index.json
// reaches. Other blobs are not hashed; see Verify.
//
// The error is of class ErrPolicy if the bundle is unsigned or no key was given,
// of class ErrVerify if anything else is wrong with the bundle, and an I/O error
// otherwise. It names all missing and extra members.
func Open(ctx context.Context, paths []string, o OpenOptions) (*Bundle, error) {
	if len(paths) == 0 {
		return nil, errors.New("open a bundle: no path")
	}
	b, err := openOne(ctx, paths[0], o)
	if err != nil {
		return nil, err
	}
	if err := b.openBases(ctx, paths[1:]); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func openOne(ctx context.Context, path string, o OpenOptions) (*Bundle, error) {
	f, err := openContainer(ctx, path)
	if err != nil {
		return nil, err
	}
	b, err := open(f, f.Index, o)
	switch {
	case err != nil && !errors.Is(err, trust.ErrUnknownKey):
		err = f.blame(ctx, err)
	case err == nil && f.parts != nil:
		err = f.parts.vouch(b, f.path+partsSuffix)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bundle %q: %w", f.path, err), f.Close())
	}
	b.file = f
	return b, nil
}

// OpenReader is Open over a reader of size bytes. Close does not close r.
func OpenReader(ctx context.Context, r io.ReaderAt, size int64, o OpenOptions) (*Bundle, error) {
	index, err := tarfile.ReadIndex(ctx, r, size)
	if err != nil {
		return nil, tarFailure(err)
	}
	b, err := open(r, index, o)
	if err != nil {
		return nil, err
	}
	b.name = o.Name
	return b, nil
}

// tarFailure marks an invalid container, as opposed to one that cannot be read.
func tarFailure(err error) error {
	for _, target := range []error{tarfile.ErrFormat, tarfile.ErrTruncated, tarfile.ErrName} {
		if errors.Is(err, target) {
			err = verifyFailure(err)
			break
		}
	}
	return fmt.Errorf("open bundle: %w", err)
}

func open(r io.ReaderAt, index *tarfile.Index, o OpenOptions) (*Bundle, error) {
	b := &Bundle{r: r, index: index}
	if err := b.readHead(); err != nil {
		return nil, err
	}
	if err := b.checkSignature(o); err != nil {
		return nil, err
	}
	if err := b.readContent(); err != nil {
		return nil, err
	}
	if err := b.checkSigner(); err != nil {
		return nil, err
	}
	if err := b.readBase(); err != nil {
		return nil, err
	}
	if err := b.checkMembers(); err != nil {
		return nil, err
	}
	if err := matchLock(b.lock, b.images, b.files); err != nil {
		return nil, verifyFailure(err)
	}
	return b, nil
}

// Root returns the digest of index.json, which identifies the bundle.
func (b *Bundle) Root() digest.Digest { return b.root }

// Lock returns the Lock; callers must not change it.
func (b *Bundle) Lock() *manifests.Lock { return b.lock }

// Config returns the config blob.
func (b *Bundle) Config() Config { return b.config }

// Signer returns the trusted key that signed the bundle, and false if the bundle
// is unsigned or was opened without keys.
func (b *Bundle) Signer() (trust.PublicKey, bool) {
	if b.signer == nil {
		return trust.PublicKey{}, false
	}
	return *b.signer, true
}

// Successor reports whether Signer is trusted only because a trusted key names it, or one
// between them.
func (b *Bundle) Successor() bool { return b.signer != nil && !b.seen.Pins(*b.signer) }

// Histories returns OpenOptions.Histories and the history of keys that the bundle has, to
// be kept for the next time. It has one only if Signer returns a key.
func (b *Bundle) Histories() []trust.History { return b.seen.Histories }

// ClaimedSigner returns the fingerprint of the key that made a signature that no
// trusted key vouches for, "" if Signer returns a key or there is no signature.
// Whoever altered the bundle can have put it there.
func (b *Bundle) ClaimedSigner() string {
	if b.signer != nil || b.maker == nil {
		return ""
	}
	return b.maker.Fingerprint()
}

// OpenPGPKey returns the armoured OpenPGP public key of the repositories, nil if
// the bundle has none.
func (b *Bundle) OpenPGPKey() []byte { return b.openPGP }

// Images returns the images sorted by name.
func (b *Bundle) Images() []ImageEntry { return b.images }

// Files returns the files sorted by group and path.
func (b *Bundle) Files() []FileEntry { return b.files }

// Metadata returns the Files that are no artifacts of the Lock: those of yum and apt
// repositories that describe packages.
func (b *Bundle) Metadata() []FileEntry {
	locked := make(map[string]bool, len(b.lock.Artifacts))
	for _, a := range b.lock.Artifacts {
		locked[fileOf(a).Label()] = true
	}
	var out []FileEntry
	for _, f := range b.files {
		if !locked[f.Label()] {
			out = append(out, f)
		}
	}
	return out
}

// Blob returns a reader over the stored bytes of a blob, which it does not
// verify. If one file holds the whole blob, Outer of the reader returns that
// *os.File. The error wraps fs.ErrNotExist if the bundle has no such blob, and is a
// *BaseError if a base has it that is not open.
func (b *Bundle) Blob(d digest.Digest) (*io.SectionReader, error) {
	at, m, err := b.member(d)
	if err != nil {
		return nil, err
	}
	if e := at.extents(m); len(e) == 1 {
		return io.NewSectionReader(e[0].File, e[0].Offset, e[0].Size), nil
	}
	return io.NewSectionReader(at.r, m.Offset, m.Size), nil
}

// Extents returns where the bytes of a blob are stored, in order: one extent if
// a single file has all of them, none if the bundle was opened from a reader. The error
// is as that of Blob.
func (b *Bundle) Extents(d digest.Digest) ([]tarfile.Extent, error) {
	at, m, err := b.member(d)
	if err != nil {
		return nil, err
	}
	return at.extents(m), nil
}

func (b *Bundle) extents(m tarfile.Member) []tarfile.Extent {
	if b.file == nil {
		return nil
	}
	return b.file.Extents(m)
}

// Label returns the name of a blob for messages: of its image, of its file
// ("<group>/<path>") or of its role in the bundle. It returns "" if the bundle has
// no such blob.
func (b *Bundle) Label(d digest.Digest) string {
	if blob := b.blobs[d]; blob != nil {
		return blob.label
	}
	return ""
}

// Descriptor returns the descriptor of a blob in the first document that refers
// to it: media type, digest, size, annotations.
func (b *Bundle) Descriptor(d digest.Digest) (ocispec.Descriptor, bool) {
	if blob := b.blobs[d]; blob != nil {
		return blob.Descriptor, true
	}
	return ocispec.Descriptor{}, false
}

// HeadFile returns the content of a member before the blobs ("index.json",
// "index.json.sig", …), nil if the bundle has no such member.
func (b *Bundle) HeadFile(name string) []byte { return b.head[name] }

// Path returns the path of the bundle for messages, without the suffix of a part;
// OpenOptions.Name if it was opened from a reader.
func (b *Bundle) Path() string {
	if b.file == nil {
		return b.name
	}
	return b.file.path
}

// Close releases the files, those of the bases too.
func (b *Bundle) Close() error {
	var errs []error
	if b.under != nil {
		errs = append(errs, b.under.Close())
	}
	if b.file != nil {
		errs = append(errs, b.file.Close())
	}
	return errors.Join(errs...)
}
