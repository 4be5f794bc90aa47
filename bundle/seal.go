package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// SealInput is everything a bundle is made of.
type SealInput struct {
	// Lock is complete: every artifact has its Blob (and Plain, when stored
	// compressed). Images, files and packages of the bundle are taken from it.
	Lock *manifests.Lock
	// Metadata are the files of yum and apt repositories that are no artifact
	// of the Lock: repodata, Packages, Release, InRelease, ….
	Metadata []FileEntry
	// Key signs; nil seals an unsigned bundle.
	Key *trust.KeyPair
	// Open returns the content of a blob; it is called once for each blob, for
	// image manifests and indexes first, then in the order of the tar. What it
	// returns is verified.
	Open func(digest.Digest) (io.ReadCloser, error)
}

// Seal writes the bundle of in to w and returns the digest of its index.json.
// The same Lock, Metadata and Key give the same bytes. After an error what was
// written is worthless; SealFile takes care of that. Content that does not
// match its descriptor is an *ArtifactError of class ErrVerify.
func Seal(ctx context.Context, w io.Writer, in SealInput) (digest.Digest, error) {
	s := sealer{ctx: ctx, in: in, docs: documents{}}
	s.blobs = newBlobSet(s.read)
	head, err := s.build()
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	t := tarfile.NewWriter(w)
	for _, m := range head {
		if err := t.Add(m.name, int64(len(m.content)), bytes.NewReader(m.content)); err != nil {
			return "", fmt.Errorf("seal: %w", err)
		}
	}
	digests := slices.SortedFunc(maps.Keys(s.blobs.blobs), func(a, b digest.Digest) int {
		return strings.Compare(blobName(a), blobName(b))
	})
	for _, d := range digests {
		if err := s.copyBlob(t, s.blobs.blobs[d]); err != nil {
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
	ctx   context.Context
	in    SealInput
	docs  documents // the JSON blobs, kept in memory: ours and those of images
	blobs *blobSet
	root  digest.Digest
}

type headMember struct {
	name    string
	content []byte
}

// build makes every document of the bundle and returns the members before the blobs.
func (s *sealer) build() ([]headMember, error) {
	images, files, err := s.content()
	if err != nil {
		return nil, err
	}
	nested, err := s.nestedIndex(files)
	if err != nil {
		return nil, err
	}
	index := newRootIndex(images, nested)
	var fingerprint string
	if s.in.Key != nil {
		fingerprint = s.in.Key.Fingerprint()
	}
	text := readme(s.in.Lock, fingerprint)
	index.Annotations = map[string]string{manifests.AnnotationReadme: digest.FromBytes(text).String()}
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
	return append(head, headMember{MemberReadme, text}), nil
}

// content lists images and files and reaches every blob of them.
func (s *sealer) content() ([]ImageEntry, []FileEntry, error) {
	images, files, err := lockContent(s.in.Lock)
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

// nestedIndex makes the artifacts and the index of them.
func (s *sealer) nestedIndex(files []FileEntry) (ocispec.Descriptor, error) {
	own := documents{}
	first, err := s.bundleArtifact(own)
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
		a, err := own.addArtifact(kind, group, own.add(ocispec.MediaTypeEmptyJSON, emptyConfig), layers)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		artifacts = append(artifacts, a)
	}
	nested, err := own.addIndex(artifacts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for d, b := range own {
		s.docs[d] = b
		if err := s.blobs.add(ocispec.Descriptor{Digest: d, Size: int64(len(b))}, "bundle"); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	return nested, nil
}

// bundleArtifact makes the artifact of config blob, Lock and repository key.
func (s *sealer) bundleArtifact(own documents) (ocispec.Descriptor, error) {
	var keys []string
	if s.in.Key != nil {
		keys = []string{string(s.in.Key.PublicPEM())}
	}
	config, err := own.addJSON(manifests.MediaTypeBundleConfig, configOf(s.in.Lock, keys))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	lock := s.in.Lock.Encode()
	if _, err := manifests.LoadSealedLock(lock); err != nil {
		return ocispec.Descriptor{}, err
	}
	layers := []ocispec.Descriptor{own.add(manifests.MediaTypeLock, lock)}
	if s.in.Key != nil {
		key := own.add(manifests.MediaTypePublicKey, s.in.Key.OpenPGPPublic)
		key.Annotations = map[string]string{ocispec.AnnotationTitle: TitlePublicKey}
		layers = append(layers, key)
	}
	return own.addArtifact(manifests.ArtifactTypeBundle, "", config, layers)
}

// read returns the verified content of an image manifest or index.
func (s *sealer) read(d ocispec.Descriptor) ([]byte, error) {
	if b, ok := s.docs[d.Digest]; ok {
		return b, nil
	}
	if err := s.ctx.Err(); err != nil {
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

// copyBlob writes one blob and verifies it on the way.
func (s *sealer) copyBlob(t *tarfile.Writer, d ocispec.Descriptor) error {
	label := s.blobs.labels[d.Digest]
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if b, ok := s.docs[d.Digest]; ok {
		if err := t.Add(blobName(d.Digest), d.Size, bytes.NewReader(b)); err != nil {
			return &ArtifactError{"seal", label, err}
		}
		return nil
	}
	r, err := s.in.Open(d.Digest)
	if err != nil {
		return &ArtifactError{"seal", label, err}
	}
	defer r.Close()
	err = t.Add(blobName(d.Digest), d.Size, reader.Verify(reader.Context(s.ctx, r), d.Digest, d.Size))
	if errors.Is(err, reader.ErrMismatch) {
		return badArtifact("seal", label, err)
	}
	if err != nil {
		return &ArtifactError{"seal", label, err}
	}
	return nil
}
