package fetch

import (
	"bytes"
	"cmp"
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

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// Limits of downloads, in bytes.
const (
	maxConfig = 8 << 20
	maxLayer  = 32 << 30
)

const mediaTypeDockerConfig = "application/vnd.docker.container.image.v1+json"

// images fetches container images by digest: indexes unchanged, and of the
// platforms only those of Env.Arches.
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
		// The smoke image is in no registry: it is built again if the store
		// lacks it.
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

func (i *images) newWalk(task Task) *imageWalk {
	return &imageWalk{images: i, arches: map[string]bool{}, taken: map[digest.Digest]bool{}, task: task}
}

// walkOf returns the walk of an image in its repository, or in the store if it is of
// this machine.
func (i *images) walkOf(a *manifests.Artifact, task Task) (*imageWalk, error) {
	w := i.newWalk(task)
	w.attachment = a.Kind == manifests.KindAttachment
	if a.Source.Trust == manifests.TrustLocal {
		return w, nil
	}
	ref, err := ParseImage(a.Source.URL)
	if err == nil {
		w.repo, err = i.Client.repository(ref.Repo)
	}
	return w, err
}

// walk fetches everything that the image consists of into the store.
func (i *images) walk(ctx context.Context, a *manifests.Artifact, task Task) (*imageWalk, manifests.Descriptor, error) {
	w, err := i.walkOf(a, task)
	if err != nil {
		return nil, manifests.Descriptor{}, err
	}
	root, err := w.run(ctx, a.Source.Digest)
	return w, root, err
}

// imageWalk fetches one image: its documents first, then its blobs.
type imageWalk struct {
	*images
	attachment bool // not an image: it has no platforms, and all of it is fetched
	repo       name.Repository
	task       Task
	blobs      []ocispec.Descriptor
	arches     map[string]bool // found
	taken      map[digest.Digest]bool
	absent     []digest.Digest
	err        error // that skip cannot return
}

// leftOut returns the platform manifests that were not fetched, sorted. An index
// may list the same manifest for two platforms, one of them requested.
func (w *imageWalk) leftOut() []digest.Digest {
	slices.Sort(w.absent)
	w.absent = slices.Compact(w.absent)
	return slices.DeleteFunc(w.absent, func(d digest.Digest) bool { return w.taken[d] })
}

func (w *imageWalk) run(ctx context.Context, root digest.Digest) (manifests.Descriptor, error) {
	d, err := w.documents(ctx, ocispec.Descriptor{Digest: root})
	if err != nil {
		return manifests.Descriptor{}, err
	}
	for _, arch := range w.Arches {
		if !w.arches[arch] && !w.attachment {
			return manifests.Descriptor{}, fmt.Errorf("has no image for linux/%s", arch)
		}
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
	return manifests.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, nil
}

// documents reads the manifests and indexes below root, which needs only a
// digest, and returns the complete descriptor of root.
func (w *imageWalk) documents(ctx context.Context, root ocispec.Descriptor) (ocispec.Descriptor, error) {
	read := func(d ocispec.Descriptor) ([]byte, error) {
		if w.err != nil {
			return nil, w.err
		}
		return w.read(ctx, d)
	}
	skip := func(child ocispec.Descriptor) bool { return w.skip(ctx, child) }
	for n, err := range image.Walk(root, read, skip) {
		if err == nil {
			err = checkDownload(n)
		}
		if err == nil && n.Descriptor.Digest == root.Digest {
			root = n.Descriptor
			err = w.single(ctx, n.Document)
		}
		if err != nil {
			return root, err
		}
		w.taken[n.Descriptor.Digest] = true
		w.blobs = append(w.blobs, n.Blobs()...)
	}
	return root, w.err
}

// skip reports whether an entry of an index is not requested: it is no image, or
// for another platform. Without a platform in the index, its config decides.
func (w *imageWalk) skip(ctx context.Context, child ocispec.Descriptor) bool {
	if image.IsIndex(child.MediaType) || w.err != nil || w.attachment {
		return false
	}
	p := child.Platform
	if p == nil && image.Known(child.MediaType) {
		p, w.err = w.childPlatform(ctx, child)
	}
	if p == nil || !image.Known(child.MediaType) || p.OS != "linux" || !slices.Contains(w.Arches, p.Architecture) {
		w.absent = append(w.absent, child.Digest)
		return true
	}
	w.arches[p.Architecture] = true
	return false
}

// childPlatform returns the platform of a manifest without one in its index, nil
// if it is no image.
func (w *imageWalk) childPlatform(ctx context.Context, child ocispec.Descriptor) (*ocispec.Platform, error) {
	only := func(d ocispec.Descriptor) ([]byte, error) { return w.read(ctx, d) }
	for n, err := range image.Walk(child, only, nil) {
		if err == nil {
			err = checkDownload(n)
		}
		if err != nil {
			return nil, err
		}
		if artifactOf(n.Document) != "" {
			return nil, nil
		}
		p, err := w.configPlatform(ctx, *n.Config)
		return &p, err
	}
	return nil, nil
}

// single checks that an image without an index is one of a requested platform,
// before its layers are downloaded.
func (w *imageWalk) single(ctx context.Context, doc image.Document) error {
	if doc.Config == nil || w.attachment {
		return nil
	}
	if kind := artifactOf(doc); kind != "" {
		return fmt.Errorf("is no container image but an artifact (%s); offk8s carries images only", kind)
	}
	p, err := w.configPlatform(ctx, *doc.Config)
	want := "linux/" + strings.Join(w.Arches, ", linux/")
	switch {
	case err != nil:
		return err
	case p.OS == "" && p.Architecture == "":
		return fmt.Errorf("its config names no operating system and architecture, want %s", want)
	case p.Architecture == "":
		return fmt.Errorf("its config names no architecture, want %s", want)
	case p.OS != "linux" || !slices.Contains(w.Arches, p.Architecture):
		return fmt.Errorf("is an image for %s/%s, want %s", cmp.Or(p.OS, "an unnamed operating system"), p.Architecture, want)
	}
	w.arches[p.Architecture] = true
	return nil
}

// artifactOf returns the type of a manifest that holds no image, such as a chart
// or a signature, and "" for an image.
func artifactOf(doc image.Document) string {
	switch doc.Config.MediaType {
	case ocispec.MediaTypeImageConfig, mediaTypeDockerConfig, "", "application/octet-stream": // old images of Docker
		return ""
	}
	return cmp.Or(doc.ArtifactType, doc.Config.MediaType)
}

// checkDownload refuses a document that names something too large, or something
// outside of its registry, such as in the network of the packing machine.
func checkDownload(n image.Node) error {
	if image.IsIndex(n.MediaType) && len(n.Manifests) == 0 {
		return fmt.Errorf("index %s lists no manifest", n.Descriptor.Digest)
	}
	var errs []error
	for _, d := range n.Manifests {
		if image.Known(d.MediaType) {
			errs = append(errs, checkSource(d, image.MaxSize))
		}
	}
	if n.Config != nil {
		errs = append(errs, checkSource(*n.Config, maxConfig))
	}
	for _, d := range n.Layers {
		errs = append(errs, checkSource(d, maxLayer))
	}
	return errors.Join(errs...)
}

func checkSource(d ocispec.Descriptor, limit int64) error {
	switch {
	case d.Size > limit:
		return fmt.Errorf("%s has %d bytes, limit %d: %w", d.Digest, d.Size, limit, ErrTooLarge)
	case len(d.URLs) > 0:
		return fmt.Errorf("%s comes from %q, not from the registry", d.Digest, d.URLs[0])
	case strings.Contains(d.MediaType, "foreign"), strings.Contains(d.MediaType, "nondistributable"):
		return fmt.Errorf("layer %s is foreign: it is not in the registry", d.Digest)
	}
	return nil
}

// read returns the verified bytes of a manifest, from the store or upstream. A
// damaged manifest in the store is fetched again.
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

// stored returns a manifest of the store after verifying its digest.
func (w *imageWalk) stored(d digest.Digest) ([]byte, error) {
	f, err := w.Store.Get(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(reader.Limit(reader.Verify(f, d, reader.AnySize), image.MaxSize))
}

// blob downloads one config or layer into the store and continues earlier
// attempts.
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
	if w.Store.Has(desc.Digest) { // another image has the same layer
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
	return w.Store.Import(part, manifests.Descriptor{Digest: desc.Digest, Size: desc.Size})
}

// configPlatform reads the platform from the configuration of an image.
func (w *imageWalk) configPlatform(ctx context.Context, d ocispec.Descriptor) (ocispec.Platform, error) {
	var p ocispec.Platform
	if !w.Store.Has(d.Digest) {
		if err := w.blob(ctx, d); err != nil {
			return p, fmt.Errorf("config %s: %w", d.Digest, err)
		}
	}
	f, err := w.Store.Get(d.Digest)
	if err != nil {
		return p, err
	}
	defer f.Close()
	if err := json.NewDecoder(reader.Limit(f, maxConfig)).Decode(&p); err != nil {
		return p, fmt.Errorf("config %s: %w", d.Digest, err)
	}
	return p, nil
}
