package fetch

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests"
)

// Cached reports whether the store has all content of a group, so that Fetch needs
// no network for it. It does not verify the content.
func (e Env) Cached(ctx context.Context, group []*manifests.Artifact) bool {
	source := group[0].Source
	switch {
	case source.Trust == manifests.TrustLocal:
		return true
	case source.Digest == "":
		return false
	case group[0].Kind.InRegistry():
		return e.cachedImage(ctx, group[0])
	case group[0].Kind == manifests.KindChart && isOCI(source):
		return e.cachedChart(ctx, source)
	case group[0].Kind == manifests.KindFile:
		for _, a := range group {
			if _, ok := e.recall(a); !ok {
				return false
			}
		}
		return true
	default:
		return e.Store.Has(source.Digest)
	}
}

// cachedImage walks the image without a registry: whatever the store lacks ends the
// walk.
func (e Env) cachedImage(ctx context.Context, a *manifests.Artifact) bool {
	w := newImages(e).newWalk(Silent().Start("", 0))
	w.attachment = a.Kind == manifests.KindAttachment
	if _, err := w.documents(ctx, ocispec.Descriptor{Digest: a.Source.Digest}); err != nil {
		return false
	}
	for _, b := range w.blobs {
		if !w.Store.Has(b.Digest) {
			return false
		}
	}
	return true
}
