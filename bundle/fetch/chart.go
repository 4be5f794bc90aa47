package fetch

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/chart"
	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/manifests"
)

// charts fetches Helm charts: archives of a chart repository, and the layer of a manifest
// in a registry.
type charts struct{ *images }

func (*charts) Kind() manifests.ArtifactKind { return manifests.KindChart }

func (c *charts) Fetch(ctx context.Context, group []*manifests.Artifact, task Task) error {
	source := group[0].Source
	if !isOCI(source) {
		if source.Trust == manifests.TrustLocal && !c.Store.Has(source.Digest) {
			return fmt.Errorf("file with digest %s is not in the store: it was on the machine where the lock was made", source.Digest)
		}
		return c.fetchPackage(ctx, group, task, checkChart)
	}
	w, layer, err := c.layer(ctx, source, task)
	if err != nil {
		return err
	}
	if !c.intact(layer.Digest) {
		task.Total(layer.Size)
		if err := c.Store.Remove(layer.Digest); err != nil {
			return err
		}
		if err := w.blob(ctx, layer); err != nil {
			return fmt.Errorf("blob %s: %w", layer.Digest, err)
		}
	}
	return c.complete(group, manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: layer.Digest, Size: layer.Size}, checkChart)
}

// isOCI reports whether a chart is in a registry.
func isOCI(s manifests.Source) bool { return strings.HasPrefix(s.URL, manifests.OCIScheme) }

// ChartImage returns the reference of a chart in a registry by its address,
// "oci://ghcr.io/org/charts/podinfo:6.9.2".
func ChartImage(address string) (ImageRef, error) {
	return ParseImage(strings.TrimPrefix(address, manifests.OCIScheme))
}

// layer reads the manifest of a chart and returns its archive, which may not be fetched yet.
func (i *images) layer(ctx context.Context, s manifests.Source, task Task) (*imageWalk, ocispec.Descriptor, error) {
	w := i.newWalk(task)
	ref, err := ChartImage(s.URL)
	if err == nil {
		w.repo, err = i.Client.repository(ref.Repo)
	}
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	layer, err := w.chart(ctx, s.Digest)
	return w, layer, err
}

func (w *imageWalk) chart(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	body, err := w.read(ctx, ocispec.Descriptor{Digest: d})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	doc, err := image.Parse("", body)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("manifest %s: %w", d, err)
	}
	layer, err := chart.Layer(doc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return layer, checkSource(layer, maxLayer)
}

// cachedChart reports whether the store has a chart of a registry.
func (e Env) cachedChart(ctx context.Context, s manifests.Source) bool {
	w := newImages(e).newWalk(Silent().Start("", 0))
	w.repo = name.Repository{} // only the store
	layer, err := w.chart(ctx, s.Digest)
	return err == nil && e.Store.Has(layer.Digest)
}

// checkChart compares the chart in f with the name and version of its artifact.
func checkChart(a *manifests.Artifact, f *os.File, _ manifests.Descriptor) error {
	got, err := chart.Read(f)
	if err != nil {
		return err
	}
	if m := got.Metadata; m.Name != a.Name || m.Version != a.Version {
		return &MismatchError{What: "chart", Found: fmt.Sprintf("%s %s", m.Name, m.Version), Want: fmt.Sprintf("%s %s", a.Name, a.Version)}
	}
	return nil
}
