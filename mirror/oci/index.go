package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/mirror/files"
)

const (
	// maxManifest bounds a manifest, as registries do.
	maxManifest = 4 << 20
	// maxDepth bounds indexes within indexes.
	maxDepth = 3

	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Image is one image of a bundle.
type Image struct {
	// Name is the full original name, "registry.k8s.io/pause:3.10".
	Name string
	// Descriptor of its manifest or index.
	Descriptor ocispec.Descriptor
}

// Store is where blobs come from and how they are sent.
type Store interface {
	// Blob finds a blob by digest; an error means that no bundle has it.
	Blob(d digest.Digest) (*files.Content, error)
	// Send answers a request with a content.
	Send(w http.ResponseWriter, r *http.Request, c *files.Content) error
}

// manifest is a manifest or index in memory; its bytes had the digest when read.
type manifest struct {
	descriptor ocispec.Descriptor
	body       []byte
	parsed     parsedManifest
}

// parsedManifest has what the registry needs of a manifest or an index.
type parsedManifest struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       ocispec.Descriptor   `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
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
	store        Store
	repositories map[string]*repository
	names        []string                 // sorted
	short        map[string][]*repository // by name without host
	manifests    map[digest.Digest]*manifest
}

func newIndex(images []Image, store Store) (*index, error) {
	x := &index{
		store:        store,
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

func (x *index) add(img Image) error {
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
	if err := x.walk(r, img.Descriptor, 0); err != nil {
		return fmt.Errorf("image %q: %w", img.Name, err)
	}
	return nil
}

// walk reads the manifest d and everything below it into r.
func (x *index) walk(r *repository, d ocispec.Descriptor, depth int) error {
	if r.manifests[d.Digest] != nil {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("manifest %s: indexes nested deeper than %d", d.Digest, maxDepth)
	}
	m := x.manifests[d.Digest]
	if m == nil {
		c, err := x.store.Blob(d.Digest)
		if err != nil {
			if depth == 0 {
				return fmt.Errorf("manifest %s: %w", d.Digest, err)
			}
			r.absent[d.Digest] = platform(d)
			return nil
		}
		if m, err = readManifest(c.Data, d); err != nil {
			return err
		}
		x.manifests[d.Digest] = m
	}
	r.manifests[d.Digest] = m
	delete(r.absent, d.Digest)
	r.refer(m)
	if m.parsed.Config.Digest != "" {
		r.blobs[m.parsed.Config.Digest] = true
	}
	for _, layer := range m.parsed.Layers {
		r.blobs[layer.Digest] = true
	}
	for _, child := range m.parsed.Manifests {
		if err := x.walk(r, child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// refer notes m as a referrer when it has a subject.
func (r *repository) refer(m *manifest) {
	if m.parsed.Subject == nil {
		return
	}
	d := ocispec.Descriptor{
		MediaType:    m.descriptor.MediaType,
		Digest:       m.descriptor.Digest,
		Size:         m.descriptor.Size,
		ArtifactType: m.parsed.ArtifactType,
		Annotations:  m.parsed.Annotations,
	}
	if d.ArtifactType == "" {
		d.ArtifactType = m.parsed.Config.MediaType
	}
	subject := m.parsed.Subject.Digest
	r.referrers[subject] = append(r.referrers[subject], d)
}

// readManifest reads a manifest and parses it only once its digest is right.
func readManifest(section *io.SectionReader, d ocispec.Descriptor) (*manifest, error) {
	if section.Size() > maxManifest {
		return nil, fmt.Errorf("manifest %s: %d bytes, more than %d", d.Digest, section.Size(), maxManifest)
	}
	r := io.NewSectionReader(section, 0, section.Size())
	body, err := io.ReadAll(reader.Verify(r, d.Digest, section.Size()))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	m := &manifest{descriptor: d, body: body}
	m.descriptor.Size = int64(len(body))
	if err := json.Unmarshal(body, &m.parsed); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if m.descriptor.MediaType == "" {
		m.descriptor.MediaType = m.parsed.MediaType
	}
	switch m.descriptor.MediaType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, dockerManifest, dockerManifestList:
		return m, nil
	}
	return nil, fmt.Errorf("manifest %s: media type %q is no image manifest or index", d.Digest, m.descriptor.MediaType)
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
