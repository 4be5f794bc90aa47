package bundle

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/tarfile"
)

// maxDocument is the largest JSON blob of ours, such as the Lock, in bytes.
const maxDocument = 64 << 20

// blobSet collects the blobs that a bundle consists of. read returns the
// verified bytes of a blob.
type blobSet struct {
	read  image.Reader
	blobs map[digest.Digest]*labelled
}

// labelled is a blob with its name for messages, see Bundle.Label, and with its place in
// the tar, which has no name if the blob is not there.
type labelled struct {
	ocispec.Descriptor
	label  string
	member tarfile.Member
}

func newBlobSet(read image.Reader) *blobSet {
	return &blobSet{read: read, blobs: map[digest.Digest]*labelled{}}
}

// add records a blob. The first descriptor of a digest stays; a second one must
// have the same size.
func (s *blobSet) add(d ocispec.Descriptor, label string) error {
	if err := image.Check(d.Digest, d.Size); err != nil {
		return err
	}
	if have, ok := s.blobs[d.Digest]; ok {
		if have.Size != d.Size {
			return fmt.Errorf("%s has size %d here and %d in %q", d.Digest, d.Size, have.Size, have.label)
		}
		return nil
	}
	s.blobs[d.Digest] = &labelled{Descriptor: d, label: label}
	return nil
}

// sorted returns the digests in the order of the tar, which is that of blobName: the names
// of the two algorithms have the same length.
func (s *blobSet) sorted() []digest.Digest { return slices.Sorted(maps.Keys(s.blobs)) }

// document adds a blob and returns its bytes.
func (s *blobSet) document(d ocispec.Descriptor, label string, limit int64) ([]byte, error) {
	if err := s.add(d, label); err != nil {
		return nil, err
	}
	if d.Size > limit {
		return nil, fmt.Errorf("document of %d bytes, allowed %d", d.Size, limit)
	}
	return s.read(d)
}

// addImage adds all blobs of an image except for the platform manifests in
// Absent, each of which one of its indexes must name.
func (s *blobSet) addImage(e ImageEntry) error {
	named := map[digest.Digest]bool{}
	for _, d := range e.Absent {
		named[d] = false
	}
	absent := func(child ocispec.Descriptor) bool {
		_, ok := named[child.Digest]
		if ok {
			named[child.Digest] = true
		}
		return ok
	}
	read := func(d ocispec.Descriptor) ([]byte, error) { return s.document(d, e.Name, image.MaxSize) }
	for n, err := range image.Walk(e.Descriptor, read, absent) {
		if err != nil {
			return err
		}
		for _, blob := range n.Blobs() {
			if err := s.add(blob, e.Name); err != nil {
				return err
			}
		}
	}
	for _, d := range e.Absent {
		if !named[d] {
			return fmt.Errorf("manifest %s is listed as left out but no index names it", d)
		}
	}
	return nil
}
