package oci

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/mirror/files"
)

// Backend holds the blobs of the bundles and sends them.
type Backend interface {
	// Blob returns the blob with the digest d, or an error if no bundle has it.
	Blob(d digest.Digest) (*files.Content, error)
	// Send answers a request with c.
	Send(w http.ResponseWriter, r *http.Request, c *files.Content) error
}

// manifest is a manifest or index in memory; its bytes had the digest when read.
type manifest struct {
	descriptor ocispec.Descriptor
	body       []byte
}

// repository is what one name holds.
type repository struct {
	name      string // "registry.k8s.io/pause"
	tags      map[string]digest.Digest
	sorted    []string // tags
	manifests map[digest.Digest]*manifest
	blobs     map[digest.Digest]bool
	absent    map[digest.Digest]string // platform manifests that were left out, with their platform
	referrers map[digest.Digest][]ocispec.Descriptor
}

// index is all repositories of all bundles.
type index struct {
	backend      Backend
	repositories map[string]*repository
	names        []string                 // sorted
	short        map[string][]*repository // by name without host
	manifests    map[digest.Digest]*manifest
}

func newIndex(images []bundle.ImageEntry, backend Backend) (*index, error) {
	x := &index{
		backend:      backend,
		repositories: make(map[string]*repository),
		short:        make(map[string][]*repository),
		manifests:    make(map[digest.Digest]*manifest),
	}
	var errs []error
	for _, img := range images {
		if err := x.add(img); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	x.names = slices.Sorted(maps.Keys(x.repositories))
	for _, name := range x.names {
		r := x.repositories[name]
		r.sorted = slices.Sorted(maps.Keys(r.tags))
		for _, list := range r.referrers {
			slices.SortFunc(list, func(a, b ocispec.Descriptor) int {
				return slices.Compare([]byte(a.Digest), []byte(b.Digest))
			})
		}
		_, short := splitHost(name)
		x.short[short] = append(x.short[short], r)
	}
	return x, nil
}

func (x *index) add(img bundle.ImageEntry) error {
	ref, err := parseReference(img.Name)
	if err != nil {
		return err
	}
	r := x.repositories[ref.repository()]
	if r == nil {
		r = &repository{
			name:      ref.repository(),
			tags:      make(map[string]digest.Digest),
			manifests: make(map[digest.Digest]*manifest),
			blobs:     make(map[digest.Digest]bool),
			absent:    make(map[digest.Digest]string),
			referrers: make(map[digest.Digest][]ocispec.Descriptor),
		}
		x.repositories[r.name] = r
	}
	root := img.Descriptor.Digest
	if ref.tag != "" {
		if other, ok := r.tags[ref.tag]; ok && other != root {
			return fmt.Errorf("image %q: two bundles have different images of this name: %s and %s", img.Name, other, root)
		}
		r.tags[ref.tag] = root
	}
	if err := x.walk(r, img.Descriptor); err != nil {
		return fmt.Errorf("image %q: %w", img.Name, err)
	}
	return nil
}

// walk reads the manifest root and everything below it into r.
func (x *index) walk(r *repository, root ocispec.Descriptor) error {
	leftOut := func(d ocispec.Descriptor) bool {
		_, err := x.backend.Blob(d.Digest)
		if err != nil {
			r.absent[d.Digest] = platform(d)
		}
		return err != nil
	}
	for n, err := range image.Walk(root, x.read, leftOut) {
		if err != nil {
			return err
		}
		d := n.Descriptor.Digest
		if r.manifests[d] != nil {
			continue
		}
		if x.manifests[d] == nil {
			x.manifests[d] = &manifest{n.Descriptor, n.Body}
		}
		r.manifests[d] = x.manifests[d]
		r.refer(n)
		for _, blob := range n.Blobs() {
			r.blobs[blob.Digest] = true
		}
	}
	return nil
}

// refer notes a manifest as a referrer if it has a subject.
func (r *repository) refer(n image.Node) {
	if n.Subject == nil {
		return
	}
	d := ocispec.Descriptor{
		MediaType:    n.Descriptor.MediaType,
		Digest:       n.Descriptor.Digest,
		Size:         n.Descriptor.Size,
		ArtifactType: n.ArtifactType,
		Annotations:  n.Annotations,
	}
	if d.ArtifactType == "" && n.Config != nil {
		d.ArtifactType = n.Config.MediaType
	}
	r.referrers[n.Subject.Digest] = append(r.referrers[n.Subject.Digest], d)
}

// read returns the bytes of a manifest after comparing them with its digest.
func (x *index) read(d ocispec.Descriptor) ([]byte, error) {
	if m := x.manifests[d.Digest]; m != nil {
		return m.body, nil
	}
	c, err := x.backend.Blob(d.Digest)
	if err != nil {
		return nil, err
	}
	if c.Data.Size() > image.MaxSize {
		return nil, fmt.Errorf("%d bytes, allowed %d", c.Data.Size(), image.MaxSize)
	}
	stored := io.NewSectionReader(c.Data, 0, c.Data.Size())
	return io.ReadAll(reader.Verify(stored, d.Digest, stored.Size()))
}

// platform spells d's platform as people do, "linux/arm64/v8".
func platform(d ocispec.Descriptor) string {
	if d.Platform == nil {
		return "unknown platform"
	}
	s := d.Platform.OS + "/" + d.Platform.Architecture
	if d.Platform.Variant != "" {
		s += "/" + d.Platform.Variant
	}
	return s
}
