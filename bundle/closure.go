package bundle

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	// maxDocument is the largest JSON blob of ours, such as the Lock, in bytes.
	maxDocument = 64 << 20
	// maxImageDocument is the largest image manifest or index; registries
	// refuse more than 4 MiB.
	maxImageDocument = 4 << 20
	// maxIndexDepth is how deep image indexes may nest.
	maxIndexDepth = 4
)

// Media types of Docker's image manifest version 2, schema 2.
const (
	mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// closure collects every blob that is reached from a root. read returns the
// verified bytes of a blob.
type closure struct {
	read   func(ocispec.Descriptor) ([]byte, error)
	blobs  map[digest.Digest]ocispec.Descriptor
	labels map[digest.Digest]string // what a person calls it
}

func newClosure(read func(ocispec.Descriptor) ([]byte, error)) *closure {
	return &closure{
		read:   read,
		blobs:  map[digest.Digest]ocispec.Descriptor{},
		labels: map[digest.Digest]string{},
	}
}

// add records a blob. The first descriptor of a digest stays; a second one must
// have the same size.
func (c *closure) add(d ocispec.Descriptor, label string) error {
	if err := checkContent(d.Digest, d.Size); err != nil {
		return err
	}
	if have, ok := c.blobs[d.Digest]; ok {
		if have.Size != d.Size {
			return fmt.Errorf("%s has size %d here and %d in %q", d.Digest, d.Size, have.Size, c.labels[d.Digest])
		}
		return nil
	}
	c.blobs[d.Digest] = d
	c.labels[d.Digest] = label
	return nil
}

// document adds a blob and returns its bytes.
func (c *closure) document(d ocispec.Descriptor, label string, limit int64) ([]byte, error) {
	if err := c.add(d, label); err != nil {
		return nil, err
	}
	if d.Size > limit {
		return nil, fmt.Errorf("document of %d bytes, allowed %d", d.Size, limit)
	}
	return c.read(d)
}

// image adds everything an image consists of, but for the platform manifests
// in Absent, each of which must be named by one of its indexes.
func (c *closure) image(e ImageEntry) error {
	w := imageWalk{closure: c, name: e.Name, absent: map[digest.Digest]bool{}, seen: map[digest.Digest]bool{}}
	for _, d := range e.Absent {
		w.absent[d] = false
	}
	if err := w.walk(e.Descriptor, 0); err != nil {
		return err
	}
	for _, d := range e.Absent {
		if !w.absent[d] {
			return fmt.Errorf("manifest %s is listed as left out but no index names it", d)
		}
	}
	return nil
}

// imageWalk is the state of one image.
type imageWalk struct {
	*closure
	name   string
	absent map[digest.Digest]bool // whether an index named it
	seen   map[digest.Digest]bool // documents, so that repeated children cost nothing
}

func (w *imageWalk) walk(d ocispec.Descriptor, depth int) error {
	if depth > maxIndexDepth {
		return fmt.Errorf("indexes nest deeper than %d", maxIndexDepth)
	}
	if w.seen[d.Digest] {
		return nil
	}
	w.seen[d.Digest] = true
	b, err := w.document(d, w.name, maxImageDocument)
	if err != nil {
		return err
	}
	doc, err := parseImageDocument(d.MediaType, b)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Digest, err)
	}
	for _, child := range doc.Manifests {
		if _, ok := w.absent[child.Digest]; ok {
			w.absent[child.Digest] = true
			continue
		}
		if err := w.walk(child, depth+1); err != nil {
			return err
		}
	}
	if doc.Config == nil {
		return nil
	}
	for _, blob := range append([]ocispec.Descriptor{*doc.Config}, doc.Layers...) {
		if err := w.add(blob, w.name); err != nil {
			return err
		}
	}
	return nil
}

// imageDocument is an image index or an image manifest, of OCI or Docker; the
// fields the other has stay empty.
type imageDocument struct {
	MediaType string               `json:"mediaType"`
	Manifests []ocispec.Descriptor `json:"manifests"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
}

// parseImageDocument parses verified bytes as what their descriptor says they
// are. Upstream may have fields we do not know; a document that could be read
// as both kinds (CVE-2021-41190) is refused.
func parseImageDocument(mediaType string, b []byte) (imageDocument, error) {
	var doc imageDocument
	var anything any
	if err := strict.DecodeJSON(b, &anything); err != nil {
		return doc, err
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return doc, fmt.Errorf("parse %s: %w", mediaType, err)
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return doc, fmt.Errorf("says it is %q, its descriptor says %q", doc.MediaType, mediaType)
	}
	switch mediaType {
	case ocispec.MediaTypeImageIndex, mediaTypeDockerList:
		if doc.Config != nil || doc.Layers != nil {
			return doc, fmt.Errorf("index with config or layers")
		}
	case ocispec.MediaTypeImageManifest, mediaTypeDockerManifest:
		if doc.Manifests != nil || doc.Config == nil {
			return doc, fmt.Errorf("image manifest without config, or with manifests")
		}
	default:
		return doc, fmt.Errorf("unknown image media type %q", mediaType)
	}
	return doc, nil
}
