package bundle

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// maxReported bounds the missing and extra members that one error names.
const maxReported = 50

// readContent walks from index.json to everything it reaches.
func (b *Bundle) readContent() error {
	var index ocispec.Index
	if err := decodeExact(b.head[MemberIndex], &index); err != nil {
		return badArtifact("open", MemberIndex, err)
	}
	if err := b.checkReadme(index.Annotations); err != nil {
		return err
	}
	n := len(index.Manifests) - 1
	if index.SchemaVersion != 2 || index.MediaType != ocispec.MediaTypeImageIndex || n < 0 ||
		index.Manifests[n].ArtifactType != manifests.ArtifactTypeContent {
		return badArtifact("open", MemberIndex, errors.New("is not the index of a bundle"))
	}
	c := newBlobSet(b.readDocument)
	if err := b.readNested(c, index.Manifests[n]); err != nil {
		return err
	}
	for _, d := range index.Manifests[:n] {
		b.images = append(b.images, ImageEntry{Name: d.Annotations[ocispec.AnnotationRefName], Descriptor: d})
	}
	if err := b.readImages(c); err != nil {
		return err
	}
	b.blobs, b.labels = c.blobs, c.labels
	return nil
}

// readDocument returns the verified bytes of a blob.
func (b *Bundle) readDocument(d ocispec.Descriptor) ([]byte, error) {
	m, ok := b.index.Lookup(blobName(d.Digest))
	if !ok {
		return nil, fmt.Errorf("member %q is missing", blobName(d.Digest))
	}
	return io.ReadAll(reader.Verify(io.NewSectionReader(b.r, m.Offset, m.Size), d.Digest, d.Size))
}

// readNested reads the index of the artifacts: the bundle artifact, then the
// groups of files in order.
func (b *Bundle) readNested(c *blobSet, d ocispec.Descriptor) error {
	raw, err := c.document(d, "content index", maxDocument)
	if err != nil {
		return badArtifact("open", "content index", err)
	}
	var nested ocispec.Index
	if err := decodeExact(raw, &nested); err != nil {
		return badArtifact("open", "content index", err)
	}
	if d.MediaType != ocispec.MediaTypeImageIndex || nested.MediaType != d.MediaType || nested.SchemaVersion != 2 ||
		nested.ArtifactType != d.ArtifactType || len(nested.Manifests) == 0 {
		return badArtifact("open", "content index", errors.New("is not the content index of a bundle"))
	}
	previous := ""
	for i, a := range nested.Manifests {
		m, err := readArtifact(c, a)
		if err != nil {
			return badArtifact("open", artifactLabel(a), err)
		}
		if i == 0 {
			if err := b.readBundleArtifact(c, m); err != nil {
				return badArtifact("open", "bundle artifact", err)
			}
			continue
		}
		group := m.Annotations[manifests.AnnotationGroup]
		if i > 1 && group <= previous {
			return badArtifact("open", group, fmt.Errorf("out of order after %q", previous))
		}
		previous = group
		if err := b.readFiles(c, group, m); err != nil {
			return badArtifact("open", group, err)
		}
	}
	return nil
}

func artifactLabel(d ocispec.Descriptor) string {
	if group := d.Annotations[manifests.AnnotationGroup]; group != "" {
		return group
	}
	return d.Digest.String()
}

// readArtifact reads an artifact manifest and demands that its descriptor says
// the same of it as it does.
func readArtifact(c *blobSet, d ocispec.Descriptor) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	raw, err := c.document(d, "artifact manifest", maxDocument)
	if err != nil {
		return m, err
	}
	if err := decodeExact(raw, &m); err != nil {
		return m, err
	}
	if d.MediaType != ocispec.MediaTypeImageManifest || m.MediaType != d.MediaType || m.SchemaVersion != 2 ||
		m.ArtifactType != d.ArtifactType ||
		m.Annotations[manifests.AnnotationGroup] != d.Annotations[manifests.AnnotationGroup] {
		return m, errors.New("artifact manifest and its descriptor do not agree")
	}
	return m, nil
}

// readBundleArtifact reads config blob, Lock and repository key.
func (b *Bundle) readBundleArtifact(c *blobSet, m ocispec.Manifest) error {
	if m.ArtifactType != manifests.ArtifactTypeBundle || len(m.Layers) < 1 || len(m.Layers) > 2 ||
		m.Config.MediaType != manifests.MediaTypeBundleConfig || m.Layers[0].MediaType != manifests.MediaTypeLock {
		return errors.New("is not what a bundle begins with")
	}
	raw, err := c.document(m.Config, "config", maxDocument)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := decodeExact(raw, &b.config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if raw, err = c.document(m.Layers[0], "lock", maxDocument); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if b.lock, err = manifests.LoadSealedLock(raw); err != nil {
		return err
	}
	if want, err := encode(configOf(b.lock, b.config.Keys)); err != nil || m.Config.Digest != digest.FromBytes(want) {
		return errors.Join(err, errors.New("config and lock do not agree"))
	}
	if len(b.config.Keys) > 0 {
		if _, err := trust.ParsePublicKeys([]byte(strings.Join(b.config.Keys, ""))); err != nil {
			return fmt.Errorf("config: %w", err)
		}
	}
	if len(m.Layers) == 2 {
		key := m.Layers[1]
		if key.MediaType != manifests.MediaTypePublicKey || key.Annotations[ocispec.AnnotationTitle] != TitlePublicKey {
			return fmt.Errorf("second layer is %q, expected the repository key", key.MediaType)
		}
		if b.openPGP, err = c.document(key, TitlePublicKey, 1<<20); err != nil {
			return fmt.Errorf("repository key: %w", err)
		}
	}
	return nil
}

// readFiles reads the layers of one group.
func (b *Bundle) readFiles(c *blobSet, group string, m ocispec.Manifest) error {
	kind, err := artifactType(group)
	if err != nil {
		return err
	}
	if m.ArtifactType != kind || len(m.Layers) == 0 {
		return fmt.Errorf("artifact of type %q with %d layers, expected %q with files", m.ArtifactType, len(m.Layers), kind)
	}
	empty, err := c.document(m.Config, "empty config", int64(len(emptyConfig)))
	if err != nil || string(empty) != string(emptyConfig) {
		return errors.Join(err, errors.New("config is not the empty one"))
	}
	previous := ""
	for _, d := range m.Layers {
		f, err := fileEntry(group, d)
		if err != nil {
			return err
		}
		if f.Path <= previous {
			return fmt.Errorf("path %q is there twice or out of order after %q", f.Path, previous)
		}
		previous = f.Path
		if err := c.add(d, f.Label()); err != nil {
			return fmt.Errorf("%q: %w", f.Path, err)
		}
		b.files = append(b.files, f)
	}
	return nil
}

// readImages walks the images; what they may lack is in the Lock.
func (b *Bundle) readImages(c *blobSet) error {
	absent := map[string][]digest.Digest{}
	for _, a := range b.lock.Artifacts {
		if a.Kind == manifests.KindImage {
			absent[a.Name] = a.Absent
		}
	}
	previous := ""
	for i := range b.images {
		e := &b.images[i]
		if e.Name <= previous {
			return badArtifact("open", e.Name, fmt.Errorf("image is there twice, or out of order after %q", previous))
		}
		previous = e.Name
		e.Absent = absent[e.Name]
		if err := c.addImage(*e); err != nil {
			return badArtifact("open", e.Name, err)
		}
	}
	return nil
}

// checkMembers demands that the tar holds exactly the blobs that were reached.
func (b *Bundle) checkMembers() error {
	var errs []error
	expected := map[string]bool{}
	for d, desc := range b.blobs {
		name := blobName(d)
		expected[name] = true
		m, ok := b.index.Lookup(name)
		switch {
		case !ok:
			errs = append(errs, badArtifact("open", b.labels[d], fmt.Errorf("member %q is missing", name)))
		case m.Size != desc.Size:
			errs = append(errs, badArtifact("open", b.labels[d], fmt.Errorf("member %q has %d bytes, expected %d", name, m.Size, desc.Size)))
		}
	}
	for _, m := range b.index.Members()[len(b.head):] {
		if !expected[m.Name] {
			errs = append(errs, badArtifact("open", m.Name, errors.New("extra member: nothing in index.json leads to it")))
		}
	}
	slices.SortFunc(errs, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	if len(errs) > maxReported {
		errs = append(errs[:maxReported], verifyFailure(fmt.Errorf("and %d more", len(errs)-maxReported)))
	}
	return errors.Join(errs...)
}
