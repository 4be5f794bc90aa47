package bundle

import (
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// newRootIndex returns index.json but for its annotations: the images, then
// the index of everything else.
func newRootIndex(images []ImageEntry, nested ocispec.Descriptor) ocispec.Index {
	x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	x.SchemaVersion = 2
	for _, e := range images {
		x.Manifests = append(x.Manifests, e.Descriptor)
	}
	x.Manifests = append(slices.Clip(x.Manifests), nested)
	return x
}
