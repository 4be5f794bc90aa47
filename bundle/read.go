package bundle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/manifests"
)

const (
	// maxOpenPGP is the largest OpenPGP public key in bytes.
	maxOpenPGP = 1 << 20
	// maxReported is how many missing and extra members one error names.
	maxReported = 50
)

var errNoBlob = fmt.Errorf("not in this bundle: %w", fs.ErrNotExist)

// headLimits are the members before the blobs, in order, with their largest
// size in bytes.
var headLimits = []struct {
	name     string
	limit    int64
	required bool
}{
	{MemberLayout, int64(len(layoutFile)), true},
	{MemberIndex, maxDocument, true},
	{MemberSignature, 1 << 10, false},
	{MemberSigstore, 4 << 10, false},
	{MemberReadme, 64 << 10, true},
	{MemberBase, 4 << 10, false},
}

// readHead reads the members before the blobs; nothing is trusted yet.
func (b *Bundle) readHead() error {
	b.head = map[string][]byte{}
	members := b.index.Members()
	for _, h := range headLimits {
		if len(members) == 0 || members[0].Name != h.name {
			if !h.required {
				continue
			}
			return badArtifact("open", h.name, fmt.Errorf("not in its place, found %s", firstName(members)))
		}
		m := members[0]
		if m.Size > h.limit {
			return badArtifact("open", h.name, fmt.Errorf("%d bytes, allowed %d", m.Size, h.limit))
		}
		content := make([]byte, m.Size)
		if _, err := io.ReadFull(io.NewSectionReader(b.r, m.Offset, m.Size), content); err != nil {
			return &ArtifactError{"open", h.name, err}
		}
		b.head[h.name] = content
		members = members[1:]
	}
	if string(b.head[MemberLayout]) != layoutFile {
		return badArtifact("open", MemberLayout, fmt.Errorf("found %q, expected %q", b.head[MemberLayout], layoutFile))
	}
	if (b.head[MemberSignature] == nil) != (b.head[MemberSigstore] == nil) {
		return badArtifact("open", MemberSignature, fmt.Errorf("only one of %s and %s is present", MemberSignature, MemberSigstore))
	}
	return checkOrder(members)
}

func firstName(members []tarfile.Member) string {
	if len(members) == 0 {
		return "the end"
	}
	return fmt.Sprintf("%q", members[0].Name)
}

// checkOrder checks that the members after the head are blobs, sorted by name.
func checkOrder(members []tarfile.Member) error {
	for i, m := range members {
		if !strings.HasPrefix(m.Name, "blobs/") {
			return badArtifact("open", m.Name, errors.New("does not belong to a bundle"))
		}
		if i > 0 && m.Name <= members[i-1].Name {
			return badArtifact("open", m.Name, fmt.Errorf("out of order after %q", members[i-1].Name))
		}
	}
	return nil
}

// readContent walks from index.json to everything that it reaches.
func (b *Bundle) readContent() error {
	index, content, err := parseRoot(b.head[MemberIndex])
	if err != nil {
		return badArtifact("open", MemberIndex, err)
	}
	readme, want := digest.FromBytes(b.head[MemberReadme]).String(), index.Annotations[manifests.AnnotationReadme]
	if readme != want {
		return badArtifact("open", MemberReadme, fmt.Errorf("content is %s, index.json says %q", readme, want))
	}
	s := newBlobSet(b.readDocument)
	if err := b.readArtifacts(s, content); err != nil {
		return err
	}
	for _, d := range index.Manifests[:len(index.Manifests)-1] {
		b.images = append(b.images, ImageEntry{Name: d.Annotations[ocispec.AnnotationRefName], Descriptor: d})
	}
	if err := b.readImages(s); err != nil {
		return err
	}
	b.blobSet = s
	return nil
}

// readDocument returns the verified bytes of a blob.
func (b *Bundle) readDocument(d ocispec.Descriptor) ([]byte, error) {
	m, ok := b.index.Lookup(blobName(d.Digest))
	if !ok {
		return nil, fmt.Errorf("member %q is missing", blobName(d.Digest))
	}
	content := make([]byte, min(m.Size, d.Size+1)) // one byte too many shows that it is longer
	n, err := io.ReadFull(io.NewSectionReader(b.r, m.Offset, m.Size), content)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return content[:n], reader.VerifyBytes(content[:n], d.Digest, d.Size)
}

// ReadLock follows index.json, whose signature the caller has verified, to the
// Lock, to the armoured OpenPGP key of the repositories, nil if the bundle has none, and
// to the config blob. read returns the verified bytes of a blob of at most 64 MiB.
func ReadLock(index []byte, read image.Reader) (*manifests.Lock, []byte, Config, error) {
	_, content, err := parseRoot(index)
	if err != nil {
		return nil, nil, Config{}, fmt.Errorf("%s: %w", MemberIndex, err)
	}
	s := newBlobSet(read)
	artifacts, err := readContentIndex(s, content)
	if err != nil {
		return nil, nil, Config{}, fmt.Errorf("content index: %w", err)
	}
	a, err := readBundleArtifact(s, artifacts[0])
	if err != nil {
		return nil, nil, Config{}, fmt.Errorf("bundle artifact: %w", err)
	}
	return a.lock, a.openPGP, a.config, nil
}

// parseRoot parses index.json: the images, then the content index. Every reader that
// looks for the Lock of a bundle uses it. A descriptor has the
// fields that Seal writes and no others: an image with the artifact type of the
// content index would be a second Lock for a reader that looks for the type, and
// urls or data would be a second source of the content.
func parseRoot(raw []byte) (index ocispec.Index, content ocispec.Descriptor, err error) {
	if err := decodeExact(raw, &index); err != nil {
		return index, content, err
	}
	n := len(index.Manifests) - 1
	if index.SchemaVersion != 2 || index.MediaType != ocispec.MediaTypeImageIndex || n < 0 ||
		index.Manifests[n].ArtifactType != manifests.ArtifactTypeContent {
		return index, content, errors.New("is not the index of a bundle")
	}
	content = index.Manifests[n]
	for _, d := range index.Manifests[:n] {
		name := d.Annotations[ocispec.AnnotationRefName]
		canonical := imageDescriptor(name, manifests.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
		if !reflect.DeepEqual(d, canonical) {
			return index, content, fmt.Errorf("descriptor of image %q has other fields than media type, digest, size and name", name)
		}
	}
	canonical := ocispec.Descriptor{
		MediaType: content.MediaType, Digest: content.Digest, Size: content.Size, ArtifactType: manifests.ArtifactTypeContent,
	}
	if !reflect.DeepEqual(content, canonical) {
		return index, content, errors.New("descriptor of the content index has other fields than media type, digest, size and artifact type")
	}
	return index, content, nil
}

// readContentIndex returns the artifacts of a bundle: the bundle artifact and
// those of the groups of files.
func readContentIndex(s *blobSet, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	raw, err := s.document(d, "content index", maxDocument)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := decodeExact(raw, &index); err != nil {
		return nil, err
	}
	if d.MediaType != ocispec.MediaTypeImageIndex || index.MediaType != d.MediaType || index.SchemaVersion != 2 ||
		index.ArtifactType != d.ArtifactType || len(index.Manifests) == 0 {
		return nil, errors.New("is not the content index of a bundle")
	}
	return index.Manifests, nil
}

// readArtifacts reads the content index: the bundle artifact, then the groups
// of files in order.
func (b *Bundle) readArtifacts(s *blobSet, content ocispec.Descriptor) error {
	artifacts, err := readContentIndex(s, content)
	if err != nil {
		return badArtifact("open", "content index", err)
	}
	wait, err := startBundleArtifact(s, artifacts[0])
	if err != nil {
		return badArtifact("open", "bundle artifact", err)
	}
	err = b.readGroups(s, artifacts[1:])
	// The signed Lock is the better reason.
	var bad error
	if b.bundleArtifact, bad = wait(); bad != nil {
		return badArtifact("open", "bundle artifact", bad)
	}
	return err
}

// readGroups reads the groups of files.
func (b *Bundle) readGroups(s *blobSet, groups []ocispec.Descriptor) error {
	previous := ""
	for _, d := range groups {
		m, err := readArtifact(s, d)
		if err != nil {
			return badArtifact("open", cmp.Or(d.Annotations[manifests.AnnotationGroup], d.Digest.String()), err)
		}
		group := m.Annotations[manifests.AnnotationGroup]
		if previous != "" && group <= previous {
			return badArtifact("open", group, fmt.Errorf("out of order after %q", previous))
		}
		previous = group
		if err := b.readFiles(s, group, m); err != nil {
			return badArtifact("open", group, err)
		}
	}
	return nil
}

// readArtifact reads an artifact manifest and checks that it agrees with its
// descriptor.
func readArtifact(s *blobSet, d ocispec.Descriptor) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	raw, err := s.document(d, "artifact manifest", maxDocument)
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
	for _, part := range append(m.Layers, m.Config, d) {
		if part.URLs != nil || part.Data != nil || part.Platform != nil {
			return m, fmt.Errorf("descriptor of %s has urls, data or a platform", part.Digest)
		}
	}
	return m, nil
}

// readFiles reads the layers of one group.
func (b *Bundle) readFiles(s *blobSet, group string, m ocispec.Manifest) error {
	kind, err := artifactType(group)
	if err != nil {
		return err
	}
	if m.ArtifactType != kind || len(m.Layers) == 0 {
		return fmt.Errorf("artifact of type %q with %d layers, expected %q with files", m.ArtifactType, len(m.Layers), kind)
	}
	empty, err := s.document(m.Config, "empty config", int64(len(emptyConfig)))
	if err != nil {
		return fmt.Errorf("empty config: %w", err)
	}
	if !bytes.Equal(empty, emptyConfig) {
		return errors.New("config is not the empty one")
	}
	previous := ""
	b.files = slices.Grow(b.files, len(m.Layers))
	for _, d := range m.Layers {
		f, err := fileEntry(group, d)
		if err != nil {
			return err
		}
		if f.Path <= previous {
			return fmt.Errorf("path %q is a duplicate or out of order after %q", f.Path, previous)
		}
		previous = f.Path
		if err := s.add(d, f.Label()); err != nil {
			return fmt.Errorf("%q: %w", f.Path, err)
		}
		b.files = append(b.files, f)
	}
	return nil
}

// readImages walks the images. The Lock lists the manifests that may be missing.
func (b *Bundle) readImages(s *blobSet) error {
	absent := map[string][]digest.Digest{}
	for _, a := range b.lock.Artifacts {
		if a.Kind.InRegistry() {
			absent[a.Name] = a.Absent
		}
	}
	previous := ""
	for i := range b.images {
		e := &b.images[i]
		if e.Name <= previous {
			return badArtifact("open", e.Name, fmt.Errorf("image is a duplicate or out of order after %q", previous))
		}
		previous = e.Name
		e.Absent = absent[e.Name]
		if err := s.addImage(*e); err != nil {
			return badArtifact("open", e.Name, err)
		}
	}
	return nil
}

// checkMembers finds the blobs in the tar, and checks that it has exactly those that
// index.json reaches. A delta may leave some out.
func (b *Bundle) checkMembers() error {
	var errs []error
	found := 0
	for d, blob := range b.blobs {
		name := blobName(d)
		m, ok := b.index.Lookup(name)
		if ok {
			blob.member = m
			found++
		}
		switch {
		case !ok && b.base != nil:
		case !ok:
			errs = append(errs, badArtifact("open", blob.label, fmt.Errorf("member %q is missing", name)))
		case m.Size != blob.Size:
			errs = append(errs, badArtifact("open", blob.label, fmt.Errorf("member %q has %d bytes, expected %d", name, m.Size, blob.Size)))
		}
	}
	if members := b.index.Members()[len(b.head):]; found < len(members) {
		errs = append(errs, b.extra(members)...)
	}
	manifests.SortErrors(errs)
	if len(errs) > maxReported {
		errs = append(errs[:maxReported], verifyFailure(fmt.Errorf("and %d more", len(errs)-maxReported)))
	}
	return errors.Join(errs...)
}

// extra returns an error for each of members that is no blob of b.
func (b *Bundle) extra(members []tarfile.Member) (errs []error) {
	expected := map[string]bool{}
	for d := range b.blobs {
		expected[blobName(d)] = true
	}
	for _, m := range members {
		if !expected[m.Name] {
			errs = append(errs, badArtifact("open", m.Name, errors.New("extra member: nothing in index.json leads to it")))
		}
	}
	return errs
}
