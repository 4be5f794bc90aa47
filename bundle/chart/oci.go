package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/manifests"
)

// Media types of a chart in a registry, as Helm has them (helm.sh/helm/v3/pkg/registry).
const (
	mediaTypeConfig = "application/vnd.cncf.helm.config.v1+json"
	mediaTypeLayer  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Layer returns the descriptor of the archive in the manifest of a chart.
func Layer(doc image.Document) (ocispec.Descriptor, error) {
	if doc.Config == nil || doc.Config.MediaType != mediaTypeConfig {
		return ocispec.Descriptor{}, fmt.Errorf("%w: its config is not of the type %s", ErrFormat, mediaTypeConfig)
	}
	for _, l := range doc.Layers {
		if l.MediaType == mediaTypeLayer {
			if l.Size > maxSize {
				return l, fmt.Errorf("%w: archive of %d bytes, limit %d", ErrFormat, l.Size, maxSize)
			}
			return l, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w: no layer is of the type %s", ErrFormat, mediaTypeLayer)
}

// Manifest returns the manifest and the config of a chart of a bundle, as a registry serves
// them. All mirrors make the same ones of the same Lock.
func Manifest(a manifests.Artifact) (manifest, config []byte, err error) {
	if a.Chart == nil {
		return nil, nil, errors.New("the lock has no metadata of the chart")
	}
	m := a.Chart.Metadata
	if config, err = encode(m); err != nil {
		return nil, nil, err
	}
	annotations := map[string]string{ocispec.AnnotationTitle: m.Name, ocispec.AnnotationVersion: m.Version}
	for key, value := range map[string]string{ocispec.AnnotationDescription: m.Description, ocispec.AnnotationURL: m.Home} {
		if value != "" {
			annotations[key] = value
		}
	}
	manifest, err = encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: mediaTypeConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ocispec.Descriptor{{
			MediaType: mediaTypeLayer, Digest: a.Blob.Digest, Size: a.Blob.Size,
		}},
		Annotations: annotations,
	})
	return manifest, config, err
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
