// Package image reads the documents of a container image: the indexes and
// manifests of OCI image-spec v1.1.1 and of Docker's image manifest version 2,
// schema 2. Every part of offk8s that follows an image does it with [Walk], so
// that packing, opening and serving agree on the meaning of a document and on how
// large an image may be.
//
// The package reads no files and checks no digests: it is given bytes that were
// compared with their descriptor before.
package image

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Media types of Docker's image manifest version 2, schema 2.
const (
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Limits of an image. Nothing that registries serve comes near them, except
// for MaxSize, which is the limit that distribution-spec v1.1 recommends.
const (
	// MaxSize is the largest index or manifest in bytes.
	MaxSize = 4 << 20
	// MaxDepth is the longest chain of documents: an index of indexes of manifests.
	MaxDepth = 3
	// MaxChildren is how many manifests an index and how many layers a manifest may have.
	MaxChildren = 1024
)

// Document is an index or a manifest. The fields of the other kind are empty.
type Document struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Manifests     []ocispec.Descriptor `json:"manifests"` // of an index
	Config        *ocispec.Descriptor  `json:"config"`    // of a manifest, never nil there
	Layers        []ocispec.Descriptor `json:"layers"`    // of a manifest
	Subject       *ocispec.Descriptor  `json:"subject"`
	Annotations   map[string]string    `json:"annotations"`
}

// IsIndex reports whether mediaType is that of an index.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == MediaTypeDockerIndex
}

// Known reports whether mediaType is that of an index or of a manifest. An index
// may list other content, such as the layers of a build cache, which readers
// must ignore (image-spec v1.1.1, image-index.md, "manifests").
func Known(mediaType string) bool { return IsIndex(mediaType) || isManifest(mediaType) }

// ReferrersTag returns the tag of the referrers of d in a registry without the referrers API
// (distribution-spec v1.1, "Referrers Tag Schema"). cosign's tags are this one and a suffix.
func ReferrersTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

func isManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == MediaTypeDockerManifest
}

// Blobs returns the config and the layers of a manifest, nil for an index.
func (d *Document) Blobs() []ocispec.Descriptor {
	if d.Config == nil {
		return nil
	}
	return append([]ocispec.Descriptor{*d.Config}, d.Layers...)
}

// Parse reads a document. mediaType is the one of its descriptor; if that is
// empty, as for an image that is known by digest only, the document decides.
// MediaType of the result is always set.
//
// Upstream documents may have unknown fields. Parse refuses a document that
// another reader could understand differently: with duplicate keys, with
// another media type than its descriptor's, or with the parts of an index and
// of a manifest (CVE-2021-41190). All descriptors of the result pass Check.
func Parse(mediaType string, body []byte) (Document, error) {
	var doc Document
	if len(body) > MaxSize {
		return doc, fmt.Errorf("document of %d bytes, allowed %d", len(body), MaxSize)
	}
	var anything json.RawMessage // any JSON, without the memory of its values
	if err := strict.DecodeJSON(body, &anything); err != nil {
		return doc, err
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return doc, err
	}
	if mediaType != "" && doc.MediaType != "" && doc.MediaType != mediaType {
		return doc, fmt.Errorf("media type %q, its descriptor says %q", doc.MediaType, mediaType)
	}
	if doc.MediaType == "" {
		doc.MediaType = mediaType
	}
	if doc.MediaType == "" {
		doc.MediaType = ocispec.MediaTypeImageManifest
		if doc.Manifests != nil {
			doc.MediaType = ocispec.MediaTypeImageIndex
		}
	}
	return doc, doc.check()
}

func (d *Document) check() error {
	index, parts := IsIndex(d.MediaType), d.Config != nil || d.Layers != nil
	switch {
	case !Known(d.MediaType):
		return fmt.Errorf("unknown image media type %q", d.MediaType)
	case d.SchemaVersion != 2:
		return fmt.Errorf("schema version %d, expected 2", d.SchemaVersion)
	case d.Manifests != nil && parts:
		return errors.New("is an index and a manifest at once")
	case index && parts:
		return errors.New("index with a config or layers")
	case !index && d.Config == nil:
		return errors.New("manifest without a config")
	}
	if n := max(len(d.Manifests), len(d.Layers)); n > MaxChildren {
		return fmt.Errorf("%d manifests or layers, allowed %d", n, MaxChildren)
	}
	for _, child := range d.Manifests {
		if err := Check(child.Digest, child.Size); err != nil {
			return err
		}
	}
	for _, blob := range d.Blobs() {
		if err := Check(blob.Digest, blob.Size); err != nil {
			return err
		}
	}
	return nil
}

// Check validates the digest and size of a descriptor before they are used: the
// digest becomes part of file names and URLs.
func Check(d digest.Digest, size int64) error {
	if d == "" {
		return errors.New("no digest")
	}
	if err := strict.CheckDigest(d); err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("digest %s: negative size %d", d, size)
	}
	return nil
}
