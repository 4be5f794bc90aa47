package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// SealInput is the content of a bundle.
type SealInput struct {
	// Lock is complete: every artifact has its Blob, and Plain if it is stored
	// compressed. It lists the images, files and packages of the bundle.
	Lock *manifests.Lock
	// Metadata are the files of yum and apt repositories that are not artifacts
	// of the Lock: repodata, Packages, Release, InRelease, ….
	Metadata []FileEntry
	// Key signs the bundle; nil seals an unsigned one.
	Key *trust.KeyPair
	// Open returns the content of a blob, which is verified. It is called once
	// for each blob: first for image manifests and indexes, then in the order of
	// the tar. If it is an *os.File from its start, or has the methods of an io.SectionReader
	// of one, the output shares its blocks where the file system can.
	Open func(digest.Digest) (io.ReadCloser, error)
	// Base, if it is set, makes a delta: content that Base has is left out.
	Base *Inventory
	// Split is the largest size of a file that SealFile writes, in bytes; 0 means one
	// file. Seal ignores it.
	Split int64
	// Check, if it is set, is called by SealFile with a path at which Open finds the
	// finished bundle, before its files get their names; an error keeps them from it.
	Check func(ctx context.Context, path string) error
	// expect is called before anything is written with the size of the tar and the members
	// whose content Open returns; nil: not at all.
	expect func(size int64, opened []tarfile.Member) error
	// stored is the directory with the files that Open returns, "" if it returns others.
	stored string
	// ReadBack makes SealFile verify the bundle before it is renamed, and not while it
	// is written; Seal ignores it.
	ReadBack bool
	// later leaves the digests of blobs to whoever verifies the bundle after Seal.
	later bool
}

// Seal writes a bundle to w and returns the digest of its index.json. The same
// Lock, Metadata and Key give the same bytes. After an error the output must be
// discarded; SealFile does so. If a blob does not match its descriptor, the
// error is an *ArtifactError of class ErrVerify.
func Seal(ctx context.Context, w io.Writer, in SealInput) (digest.Digest, error) {
	s := sealer{in: in, docs: documents{}}
	s.blobs = newBlobSet(func(d ocispec.Descriptor) ([]byte, error) { return s.read(ctx, d) })
	head, err := s.build()
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	blobs := slices.DeleteFunc(s.blobs.sorted(), s.leftOut)
	if in.expect != nil {
		members, size := place(head, blobs, s.blobs.blobs)
		var opened []tarfile.Member
		for i, d := range blobs {
			if _, document := s.docs[d]; !document {
				opened = append(opened, members[i])
			}
		}
		if err := in.expect(size, opened); err != nil {
			return "", fmt.Errorf("seal: %w", err)
		}
	}
	t := tarfile.NewWriter(w)
	if err := addHead(t, head); err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	for _, d := range blobs {
		if err := s.copyBlob(ctx, t, s.blobs.blobs[d]); err != nil {
			return "", err
		}
	}
	if err := t.Close(); err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return s.root, nil
}

// sealer is the state of one Seal.
type sealer struct {
	in    SealInput
	docs  documents // all JSON blobs, ours and those of images
	blobs *blobSet
	root  digest.Digest
}

type headMember struct {
	name    string
	content []byte
}

// place returns the blobs as members of the tar that has head before them, and the size
// of the tar; sizes has those of the blobs.
func place(head []headMember, blobs []digest.Digest, sizes map[digest.Digest]*labelled) ([]tarfile.Member, int64) {
	var members []tarfile.Member
	for _, m := range head {
		members = append(members, tarfile.Member{Name: m.name, Size: int64(len(m.content))})
	}
	for _, d := range blobs {
		members = append(members, tarfile.Member{Name: blobName(d), Size: sizes[d].Size})
	}
	size := tarfile.Place(members)
	return members[len(head):], size
}

// leftOut reports whether a delta leaves out a blob. It has all documents, so that it
// can be read without its base.
func (s *sealer) leftOut(d digest.Digest) bool {
	if _, document := s.docs[d]; document || s.in.Base == nil {
		return false
	}
	return s.in.Base.has(d)
}

// addHead writes the members before the blobs.
func addHead(t *tarfile.Writer, head []headMember) error {
	for _, m := range head {
		if err := t.Add(m.name, int64(len(m.content)), bytes.NewReader(m.content)); err != nil {
			return err
		}
	}
	return nil
}

// build makes every document of the bundle and returns the members before the blobs.
func (s *sealer) build() ([]headMember, error) {
	images, files, err := s.content()
	if err != nil {
		return nil, err
	}
	content, err := s.contentIndex(files)
	if err != nil {
		return nil, err
	}
	var fingerprint string
	if s.in.Key != nil {
		fingerprint = s.in.Key.Fingerprint()
	}
	text := readme(s.in.Lock, fingerprint)
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Annotations: map[string]string{manifests.AnnotationReadme: digest.FromBytes(text).String()},
	}
	for _, e := range images {
		index.Manifests = append(index.Manifests, e.Descriptor)
	}
	index.Manifests = append(index.Manifests, content)
	b, err := encode(index)
	if err != nil {
		return nil, err
	}
	s.root = digest.FromBytes(b)
	head := []headMember{{MemberLayout, []byte(layoutFile)}, {MemberIndex, b}}
	if s.in.Key != nil {
		sig, err := s.in.Key.SignIndex(b)
		if err != nil {
			return nil, err
		}
		sigstore, err := trust.SigstoreBundle(b, sig, s.in.Key.Public())
		if err != nil {
			return nil, err
		}
		head = append(head, headMember{MemberSignature, sig}, headMember{MemberSigstore, sigstore})
	}
	head = append(head, headMember{MemberReadme, text})
	if s.in.Base == nil {
		return head, nil
	}
	base, err := encodeBase(s.root, s.in.Base.Bundle, s.in.Key)
	return append(head, headMember{MemberBase, base}), err
}

// content returns the images and files of the bundle, sorted, and adds their
// blobs to the set.
func (s *sealer) content() ([]ImageEntry, []FileEntry, error) {
	images, files, err := lockEntries(s.in.Lock)
	for _, f := range s.in.Metadata {
		f = f.normal()
		if kind, _ := artifactType(f.Group); kind != manifests.ArtifactTypeRepository {
			err = errors.Join(err, &ArtifactError{"seal", f.Label(), errors.New("metadata outside of a repository")})
		} else if e := f.check(); e != nil {
			err = errors.Join(err, &ArtifactError{"seal", f.Label(), e})
		}
		files = append(files, f)
	}
	if err := errors.Join(err, sortFiles(files)); err != nil {
		return nil, nil, err
	}
	for _, e := range images {
		if err := s.blobs.addImage(e); err != nil {
			return nil, nil, badArtifact("seal", e.Name, err)
		}
	}
	for _, f := range files {
		d := ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Blob.Digest, Size: f.Blob.Size}
		if err := s.blobs.add(d, f.Label()); err != nil {
			return nil, nil, badArtifact("seal", f.Label(), err)
		}
	}
	return images, files, nil
}

// contentIndex makes the artifacts and their index.
func (s *sealer) contentIndex(files []FileEntry) (ocispec.Descriptor, error) {
	docs := documents{}
	first, err := s.bundleArtifact(docs)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	artifacts := []ocispec.Descriptor{first}
	for start := 0; start < len(files); {
		group := files[start].Group
		var layers []ocispec.Descriptor
		for ; start < len(files) && files[start].Group == group; start++ {
			layers = append(layers, layer(files[start]))
		}
		kind, err := artifactType(group)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		a, err := docs.addArtifact(ocispec.Manifest{
			ArtifactType: kind, Layers: layers,
			Config:      docs.add(ocispec.MediaTypeEmptyJSON, emptyConfig),
			Annotations: map[string]string{manifests.AnnotationGroup: group},
		})
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		artifacts = append(artifacts, a)
	}
	index, err := docs.addContentIndex(artifacts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for d, b := range docs {
		s.docs[d] = b
		if err := s.blobs.add(ocispec.Descriptor{Digest: d, Size: int64(len(b))}, "bundle"); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	return index, nil
}

// bundleArtifact makes the artifact of config blob, Lock and repository key.
func (s *sealer) bundleArtifact(docs documents) (ocispec.Descriptor, error) {
	var keys []string
	var history trust.History
	if s.in.Key != nil {
		keys, history = []string{string(s.in.Key.PublicPEM())}, s.in.Key.History
	}
	config, err := docs.addJSON(manifests.MediaTypeBundleConfig, configOf(s.in.Lock, keys, history))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	lock := s.in.Lock.Encode()
	if _, err := manifests.LoadSealedLock(lock); err != nil {
		return ocispec.Descriptor{}, err
	}
	layers := []ocispec.Descriptor{docs.add(manifests.MediaTypeLock, lock)}
	if s.in.Key != nil {
		key := docs.add(manifests.MediaTypePublicKey, s.in.Key.OpenPGPPublic)
		key.Annotations = map[string]string{ocispec.AnnotationTitle: titlePublicKey}
		layers = append(layers, key)
	}
	return docs.addArtifact(ocispec.Manifest{ArtifactType: manifests.ArtifactTypeBundle, Config: config, Layers: layers})
}

// read returns the verified content of an image manifest or index.
func (s *sealer) read(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if b, ok := s.docs[d.Digest]; ok {
		return b, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := s.in.Open(d.Digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(reader.Verify(r, d.Digest, d.Size))
	if err == nil {
		s.docs[d.Digest] = b
	}
	return b, err
}

// copyBlob verifies a blob while it is written, unless that is done later.
func (s *sealer) copyBlob(ctx context.Context, t *tarfile.Writer, d *labelled) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b, ok := s.docs[d.Digest]; ok {
		if err := t.Add(blobName(d.Digest), d.Size, bytes.NewReader(b)); err != nil {
			return &ArtifactError{"seal", d.label, err}
		}
		return nil
	}
	r, err := s.in.Open(d.Digest)
	if err != nil {
		return &ArtifactError{"seal", d.label, err}
	}
	defer r.Close()
	content, found := newSource(ctx, r), d.Digest
	if !s.in.later {
		content.sum = newHasher(d.Digest.Algorithm())
	}
	err = t.Add(blobName(d.Digest), d.Size, content)
	if content.sum != nil {
		found = content.sum.digest()
	}
	switch {
	case err == nil && found != d.Digest:
		return badArtifact("seal", d.label, fmt.Errorf("content has digest %s, want %s", found, d.Digest))
	case errors.Is(err, tarfile.ErrSize):
		return badArtifact("seal", d.label, err)
	case err != nil:
		return &ArtifactError{"seal", d.label, err}
	}
	return nil
}
