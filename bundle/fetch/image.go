package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// Limits of an image.
const (
	maxIndexDepth = 3
	maxLayers     = 512
	maxConfig     = 8 << 20  // bytes
	maxLayer      = 32 << 30 // bytes
)

// images fetches container images by digest: the index byte for byte, of its
// platforms only those that are wanted.
type images struct {
	Env
	registries *registries
	parts      *keyLocks
}

func newImages(e Env) *images {
	return &images{Env: e, registries: newRegistries(e.Client), parts: newKeyLocks()}
}

func (*images) Kind() manifests.ArtifactKind { return manifests.KindImage }

func (i *images) Fetch(ctx context.Context, group []*manifests.Artifact, task Task) error {
	for _, a := range group {
		if err := i.fetch(ctx, a, task); err != nil {
			return err
		}
	}
	return nil
}

func (i *images) fetch(ctx context.Context, a *manifests.Artifact, task Task) error {
	w, root, err := i.walk(ctx, a, task)
	if err != nil && a.Source.Trust == manifests.TrustLocal && ctx.Err() == nil {
		// Ours is in no registry: what the store lacks of it is made again.
		if err := i.rebuildSmoke(ctx, a); err != nil {
			return err
		}
		w, root, err = i.walk(ctx, a, task)
	}
	if err != nil {
		return err
	}
	absent := w.leftOut()
	if !a.Blob.IsZero() && !slices.Equal(a.Absent, absent) {
		return &MismatchError{What: "left out platforms", Found: fmt.Sprint(absent), Want: fmt.Sprint(a.Absent)}
	}
	if err := fill(a, manifests.Descriptor{}, root); err != nil {
		return err
	}
	a.Absent = absent
	return nil
}

// walk brings everything that the image consists of into the store.
func (i *images) walk(ctx context.Context, a *manifests.Artifact, task Task) (*imageWalk, manifests.Descriptor, error) {
	w := &imageWalk{images: i, arches: map[string]bool{}, taken: map[digest.Digest]bool{}, task: task}
	if a.Source.Trust != manifests.TrustLocal {
		ref, err := ParseImage(a.Source.URL)
		if err != nil {
			return nil, manifests.Descriptor{}, err
		}
		if w.repo, err = i.Client.repository(ref.Repo); err != nil {
			return nil, manifests.Descriptor{}, err
		}
	}
	root, err := w.run(ctx, a.Source.Digest)
	return w, root, err
}

// imageWalk goes through one image, manifests first, then its blobs.
type imageWalk struct {
	*images
	repo   name.Repository
	task   Task
	blobs  []ocispec.Descriptor
	config []ocispec.Descriptor // those of manifests that no index gave a platform
	arches map[string]bool      // found
	taken  map[digest.Digest]bool
	absent []digest.Digest
}

// leftOut returns the platform manifests that were not taken, sorted. An index
// may list one manifest for two platforms, of which one is wanted.
func (w *imageWalk) leftOut() []digest.Digest {
	slices.Sort(w.absent)
	w.absent = slices.Compact(w.absent)
	return slices.DeleteFunc(w.absent, func(d digest.Digest) bool { return w.taken[d] })
}

func (w *imageWalk) run(ctx context.Context, root digest.Digest) (manifests.Descriptor, error) {
	if err := root.Validate(); err != nil {
		return manifests.Descriptor{}, fmt.Errorf("digest %q: %w", root, err)
	}
	d, err := w.manifest(ctx, ocispec.Descriptor{Digest: root}, 0)
	if err != nil {
		return manifests.Descriptor{}, err
	}
	var missing []ocispec.Descriptor
	var total int64
	for _, b := range w.blobs {
		if !w.Store.Has(b.Digest) {
			missing = append(missing, b)
			total += b.Size
		}
	}
	w.task.Total(total)
	for _, b := range missing {
		if err := w.blob(ctx, b); err != nil {
			return manifests.Descriptor{}, fmt.Errorf("blob %s: %w", b.Digest, err)
		}
	}
	if err := w.configPlatforms(); err != nil {
		return manifests.Descriptor{}, err
	}
	for _, arch := range w.Arches {
		if !w.arches[arch] {
			return manifests.Descriptor{}, fmt.Errorf("has no image for linux/%s", arch)
		}
	}
	return manifests.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, nil
}

// manifest gets one manifest or index and everything below it that is wanted.
// desc.MediaType and Size are empty for the root, of which only the digest is known.
func (w *imageWalk) manifest(ctx context.Context, desc ocispec.Descriptor, depth int) (ocispec.Descriptor, error) {
	if depth >= maxIndexDepth {
		return desc, fmt.Errorf("index in index more than %d deep", maxIndexDepth)
	}
	body, err := w.read(ctx, desc)
	if err != nil {
		return desc, err
	}
	m, err := parseManifest(body)
	if err != nil {
		return desc, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	if desc.MediaType != "" && desc.MediaType != m.MediaType {
		return desc, fmt.Errorf("manifest %s: media type %q, its index says %q", desc.Digest, m.MediaType, desc.MediaType)
	}
	desc.MediaType, desc.Size = m.MediaType, int64(len(body))
	w.taken[desc.Digest] = true
	if !m.isIndex() {
		if desc.Platform == nil {
			w.config = append(w.config, *m.Config)
		}
		w.blobs = append(append(w.blobs, *m.Config), m.Layers...)
		return desc, nil
	}
	for _, child := range m.Manifests {
		if err := w.child(ctx, child, depth); err != nil {
			return desc, err
		}
	}
	return desc, nil
}

func (w *imageWalk) child(ctx context.Context, child ocispec.Descriptor, depth int) error {
	p := child.Platform
	if !indexTypes[child.MediaType] {
		if p != nil && (p.OS != "linux" || !slices.Contains(w.Arches, p.Architecture)) {
			w.absent = append(w.absent, child.Digest)
			return nil
		}
		if p != nil {
			w.arches[p.Architecture] = true
		}
	}
	_, err := w.manifest(ctx, child, depth+1)
	return err
}

// read returns the verified bytes of a manifest, from the store or upstream. What
// lies in the store damaged is fetched again: nothing is parsed before its
// digest is right.
func (w *imageWalk) read(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	body, err := w.stored(desc.Digest)
	if err != nil {
		if w.repo == (name.Repository{}) {
			return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
		}
		if body, _, err = w.registries.manifest(ctx, w.repo.Digest(desc.Digest.String())); err != nil {
			return nil, err
		}
		if err := w.Store.Put(ctx, manifests.Descriptor{Digest: desc.Digest}, bytes.NewReader(body)); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
	}
	if desc.Size != 0 && int64(len(body)) != desc.Size {
		return nil, &MismatchError{What: "manifest size", Found: fmt.Sprint(len(body)), Want: fmt.Sprint(desc.Size)}
	}
	return body, nil
}

// stored returns a manifest of the store whose digest is right.
func (w *imageWalk) stored(d digest.Digest) ([]byte, error) {
	f, err := w.Store.Get(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(reader.Limit(reader.Verify(f, d, reader.AnySize), maxManifest))
}

// blob downloads one config or layer into the store, with resume.
func (w *imageWalk) blob(ctx context.Context, desc ocispec.Descriptor) error {
	if w.repo == (name.Repository{}) {
		return errors.New("not in the store")
	}
	s, err := w.registries.session(ctx, w.repo)
	if err != nil {
		return err
	}
	part, err := w.Store.Partial(desc.Digest)
	if err != nil {
		return err
	}
	unlock := w.parts.lock(part)
	defer unlock()
	if w.Store.Has(desc.Digest) { // another image of the same layer was quicker
		return nil
	}
	url := s.blobURL(desc.Digest)
	d := &download{
		client: w.Client, http: s.http, url: url, target: url,
		want: desc.Digest, size: desc.Size, path: part, task: shared{w.task},
	}
	if _, err := d.run(ctx); err != nil {
		return err
	}
	return w.Store.Import(ctx, part, manifests.Descriptor{Digest: desc.Digest, Size: desc.Size})
}

// configPlatforms takes the platform of images that came without an index from
// their own configuration.
func (w *imageWalk) configPlatforms() error {
	for _, d := range w.config {
		f, err := w.Store.Get(d.Digest)
		if err != nil {
			return err
		}
		var config struct{ Architecture, OS string }
		err = json.NewDecoder(io.LimitReader(f, maxConfig)).Decode(&config)
		f.Close()
		if err != nil {
			return fmt.Errorf("config %s: %w", d.Digest, err)
		}
		if config.OS != "linux" || !slices.Contains(w.Arches, config.Architecture) {
			return fmt.Errorf("is an image for %s/%s, want linux/%s", config.OS, config.Architecture, strings.Join(w.Arches, ", linux/"))
		}
		w.arches[config.Architecture] = true
	}
	return nil
}
