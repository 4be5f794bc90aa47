package fetch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var (
	indexTypes = map[string]bool{
		ocispec.MediaTypeImageIndex:      true,
		string(types.DockerManifestList): true,
	}
	manifestTypes = map[string]bool{
		ocispec.MediaTypeImageManifest:      true,
		string(types.DockerManifestSchema2): true,
	}
)

// imageManifest is an index or a manifest; which of the two the media type says.
type imageManifest struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
}

func (m *imageManifest) isIndex() bool { return indexTypes[m.MediaType] }

// parseManifest reads verified bytes and refuses what another reader could
// understand differently or what leads out of the registry (T-23).
func parseManifest(body []byte) (*imageManifest, error) {
	var m imageManifest
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	if m.SchemaVersion != 2 {
		return nil, fmt.Errorf("schema version %d, want 2", m.SchemaVersion)
	}
	// One document that is both would be read as one thing here and as the
	// other by a runtime (CVE-2021-41190).
	if m.Manifests != nil && (m.Config != nil || m.Layers != nil) {
		return nil, errors.New("is an index and a manifest at once")
	}
	if m.MediaType == "" {
		m.MediaType = ocispec.MediaTypeImageManifest
		if m.Manifests != nil {
			m.MediaType = ocispec.MediaTypeImageIndex
		}
	}
	if !indexTypes[m.MediaType] && !manifestTypes[m.MediaType] {
		return nil, fmt.Errorf("media type %q is no image", m.MediaType)
	}
	if m.isIndex() {
		return &m, m.checkIndex()
	}
	return &m, m.checkManifest()
}

func (m *imageManifest) checkIndex() error {
	if len(m.Manifests) == 0 {
		return errors.New("index lists no manifest")
	}
	for _, d := range m.Manifests {
		if err := checkDescriptor(d, maxManifest); err != nil {
			return err
		}
		if !indexTypes[d.MediaType] && !manifestTypes[d.MediaType] {
			return fmt.Errorf("index lists %s of media type %q", d.Digest, d.MediaType)
		}
	}
	return nil
}

func (m *imageManifest) checkManifest() error {
	if m.Config == nil || len(m.Layers) > maxLayers {
		return fmt.Errorf("manifest without config or with %d layers, limit %d", len(m.Layers), maxLayers)
	}
	if err := checkDescriptor(*m.Config, maxConfig); err != nil {
		return err
	}
	for _, d := range m.Layers {
		if err := checkDescriptor(d, maxLayer); err != nil {
			return err
		}
		if strings.Contains(d.MediaType, "foreign") || strings.Contains(d.MediaType, "nondistributable") {
			return fmt.Errorf("layer %s is foreign: it is not in the registry", d.Digest)
		}
	}
	return nil
}

func checkDescriptor(d ocispec.Descriptor, limit int64) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Size < 0 || d.Size > limit {
		return fmt.Errorf("%s has %d bytes, limit %d: %w", d.Digest, d.Size, limit, ErrTooLarge)
	}
	if len(d.URLs) > 0 {
		return fmt.Errorf("%s is to be had from %q, not from the registry", d.Digest, d.URLs[0])
	}
	return nil
}
