package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Names of the members before the blobs, in this order. An unsigned bundle
// has neither MemberSignature nor MemberSigstore, and only a delta has MemberBase.
const (
	MemberLayout    = ocispec.ImageLayoutFile
	MemberIndex     = ocispec.ImageIndexFile
	MemberSignature = "index.json.sig"
	MemberSigstore  = "index.json.sigstore.json"
	MemberReadme    = "README.txt"
	MemberBase      = "base.json"
)

// titlePublicKey is the title of the OpenPGP public key in the bundle artifact.
const titlePublicKey = "offk8s.asc"

// Config is the config blob of the bundle artifact, for the comparison of two
// bundles of the same name: rollback and key rotation. Times are UTC.
type Config struct {
	Name     string        `json:"name"`
	Sequence int64         `json:"sequence"`
	Created  time.Time     `json:"created"`
	Expires  time.Time     `json:"expires,omitzero"`
	Previous digest.Digest `json:"previous,omitempty"`
	// Keys are the P-256 public keys (PEM, PKIX) that may sign the next bundle
	// of this name, the signer of this one first.
	Keys []string `json:"keys"`
	// History has the statements of the signer, and of the keys before it, about keys.
	History trust.History `json:"history,omitempty"`
}

// configOf returns the config blob that belongs to a Lock.
func configOf(l *manifests.Lock, keys []string, h trust.History) Config {
	c := Config{
		Name: l.Name, Sequence: l.Sequence, Created: l.Created.UTC(),
		Previous: l.Previous, Keys: keys, History: h,
	}
	if !l.Expires.IsZero() {
		c.Expires = l.Expires.UTC()
	}
	if c.Keys == nil {
		c.Keys = []string{}
	}
	return c
}

// layoutFile is the only content that oci-layout may have.
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// emptyConfig is the config of artifacts that have none, image-spec v1.1.1
// manifest.md, "Guidance for an Empty Descriptor".
var emptyConfig = []byte("{}")

// encode returns the one JSON form of v that a bundle may hold: no spaces, no
// HTML escapes, fields in the order of the type, map keys sorted.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := encodeTo(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func encodeTo(w io.Writer, v any) error {
	e := json.NewEncoder(oneLine{w})
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode json: %w", err)
	}
	return nil
}

// oneLine leaves out the newline that a json.Encoder writes at the end, and nowhere else.
type oneLine struct{ w io.Writer }

func (l oneLine) Write(p []byte) (int, error) {
	if _, err := l.w.Write(bytes.TrimSuffix(p, []byte("\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// decodeExact decodes JSON in the form of encode and refuses every other form.
func decodeExact(b []byte, v any) error {
	if err := strict.DecodeJSON(b, v); err != nil {
		return err
	}
	if !strict.Writes(b, func(w io.Writer) error { return encodeTo(w, v) }) {
		return errors.New("not in its canonical form: encoding it again gives other bytes")
	}
	return nil
}

// documents collects JSON blobs by digest while a bundle is sealed.
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

// addArtifact adds an artifact manifest, after setting its version and media
// type, and returns its descriptor for the content index.
func (d documents) addArtifact(m ocispec.Manifest) (ocispec.Descriptor, error) {
	m.SchemaVersion, m.MediaType = 2, ocispec.MediaTypeImageManifest
	desc, err := d.addJSON(m.MediaType, m)
	desc.ArtifactType, desc.Annotations = m.ArtifactType, m.Annotations
	return desc, err
}

// addContentIndex adds the index of the artifacts.
func (d documents) addContentIndex(artifacts []ocispec.Descriptor) (ocispec.Descriptor, error) {
	desc, err := d.addJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageIndex,
		ArtifactType: manifests.ArtifactTypeContent,
		Manifests:    artifacts,
	})
	desc.ArtifactType = manifests.ArtifactTypeContent
	return desc, err
}

// artifactType returns the type of the artifact that holds the files of group.
func artifactType(group string) (string, error) {
	g, ok := manifests.ParseGroup(group)
	switch {
	case ok && (g.Kind == manifests.GroupFiles || g.Kind == manifests.GroupCharts):
		return manifests.ArtifactTypeFiles, nil
	case ok:
		return manifests.ArtifactTypeRepository, nil
	}
	return "", fmt.Errorf("group %q, want files, charts, yum/<distro>/<arch> or apt/<distro>", group)
}

// blobName returns the name of the tar member of a blob; d is valid.
func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}
