package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// layoutFile is the only content that oci-layout may have.
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// emptyConfig is the config of artifacts that have none, image-spec v1.1.1
// manifest.md, "Guidance for an Empty Descriptor".
var emptyConfig = []byte("{}")

// encode returns the one JSON form of v that a bundle may hold: no spaces, no
// HTML escapes, fields in the order of the type, map keys sorted.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode json: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeExact decodes what encode made and refuses every other form of it.
func decodeExact(b []byte, v any) error {
	if err := strict.DecodeJSON(b, v); err != nil {
		return err
	}
	again, err := encode(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("not in its canonical form: %d bytes, %d when encoded again", len(b), len(again))
	}
	return nil
}

// documents collects the JSON blobs that seal makes, by digest.
type documents map[digest.Digest][]byte

func (d documents) add(mediaType string, b []byte) ocispec.Descriptor {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	d[desc.Digest] = b
	return desc
}

func (d documents) addJSON(mediaType string, v any) (ocispec.Descriptor, error) {
	b, err := encode(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return d.add(mediaType, b), nil
}

// addArtifact adds an artifact manifest and returns its descriptor for the
// nested index.
func (d documents) addArtifact(artifactType, group string, config ocispec.Descriptor, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       config,
		Layers:       layers,
	}
	if group != "" {
		m.Annotations = map[string]string{manifests.AnnotationGroup: group}
	}
	desc, err := d.addJSON(ocispec.MediaTypeImageManifest, m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.ArtifactType = artifactType
	desc.Annotations = m.Annotations
	return desc, nil
}

func (d documents) addIndex(manifestList []ocispec.Descriptor) (ocispec.Descriptor, error) {
	desc, err := d.addJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageIndex,
		ArtifactType: manifests.ArtifactTypeContent,
		Manifests:    manifestList,
	})
	desc.ArtifactType = manifests.ArtifactTypeContent
	return desc, err
}

// artifactType returns the type of the artifact that holds the files of group.
func artifactType(group string) (string, error) {
	g, ok := manifests.ParseGroup(group)
	switch {
	case ok && g.Kind == manifests.GroupFiles:
		return manifests.ArtifactTypeFiles, nil
	case ok:
		return manifests.ArtifactTypeRepository, nil
	}
	return "", fmt.Errorf("group %q is none of files, yum/<distro>/<arch>, apt/<distro>", group)
}

// layer returns the descriptor of a file within its artifact.
func layer(f FileEntry) ocispec.Descriptor {
	d := ocispec.Descriptor{
		MediaType:   f.MediaType,
		Digest:      f.Blob.Digest,
		Size:        f.Blob.Size,
		Annotations: map[string]string{ocispec.AnnotationTitle: f.Path},
	}
	if f.MediaType == manifests.MediaTypeFileZstd {
		d.Annotations[manifests.AnnotationPlainDigest] = f.Plain.Digest.String()
		d.Annotations[manifests.AnnotationPlainSize] = strconv.FormatInt(f.Plain.Size, 10)
	}
	return d
}

// fileEntry is the inverse of layer.
func fileEntry(group string, d ocispec.Descriptor) (FileEntry, error) {
	f := FileEntry{
		Group: group, Path: d.Annotations[ocispec.AnnotationTitle], MediaType: d.MediaType,
		Blob: manifests.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
	}
	f.Plain = f.Blob
	if d.MediaType == manifests.MediaTypeFileZstd {
		size, err := strconv.ParseInt(d.Annotations[manifests.AnnotationPlainSize], 10, 64)
		if err != nil {
			return FileEntry{}, fmt.Errorf("plain size: %w", err)
		}
		f.Plain = manifests.Descriptor{
			MediaType: manifests.MediaTypeFile,
			Digest:    digest.Digest(d.Annotations[manifests.AnnotationPlainDigest]),
			Size:      size,
		}
	}
	return f, f.check()
}

// check reports an entry that a bundle cannot hold.
func (f FileEntry) check() error {
	if _, err := artifactType(f.Group); err != nil {
		return err
	}
	if err := tarfile.CheckName(f.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if f.MediaType != manifests.MediaTypeFile && f.MediaType != manifests.MediaTypeFileZstd {
		return fmt.Errorf("media type %q, expected %q or %q", f.MediaType, manifests.MediaTypeFile, manifests.MediaTypeFileZstd)
	}
	for _, d := range []manifests.Descriptor{f.Blob, f.Plain} {
		if err := image.Check(d.Digest, d.Size); err != nil {
			return err
		}
	}
	return nil
}

// blobName returns the name of the tar member of a blob; d is valid.
func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}
