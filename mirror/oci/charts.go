package oci

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/chart"
	"github.com/offk8s/offk8s/manifests"
)

// AddCharts adds the Helm charts of a bundle, as charts/<name>:<version>. It must not be
// called while requests are answered.
func (h *Handler) AddCharts(list []manifests.Artifact) error {
	s := h.repositories
	for _, a := range list {
		body, config, err := chart.Manifest(a)
		if err != nil {
			return fmt.Errorf("chart %s %s: %w", a.Name, a.Version, err)
		}
		r := s.repository(manifests.GroupCharts + "/" + a.Name)
		tag := manifests.ChartTag(a.Version)
		if r.tags[tag] != "" {
			continue // in two bundles: newRoutes has compared their archives
		}
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(body), Size: int64(len(body))}
		r.tags[tag], r.manifests[d.Digest] = d.Digest, &manifest{d, body}
		r.configs[digest.FromBytes(config)], r.blobs[a.Blob.Digest] = config, true
		r.sorted = slices.Sorted(maps.Keys(r.tags))
	}
	s.names = slices.Sorted(maps.Keys(s.byName))
	return nil
}

// isChart reports whether the repository has charts. Those of images have a host in their
// name, or a longer one.
func (r *repository) isChart() bool { return len(r.configs) > 0 }
