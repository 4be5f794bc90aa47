package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// Errors of images that must be signed.
var (
	// ErrImageUnsigned means that an image has no signature. The error is of class
	// ErrPolicy as well.
	ErrImageUnsigned = errors.New("found no signature")
	// ErrImageSignature means that an image has signatures, but none that is required. The
	// error is of class ErrVerify as well.
	ErrImageSignature = errors.New("no good signature")
	// ErrNoImage means that signatures are required of images that a bundle lacks.
	ErrNoImage = errors.New("the bundle has no image below it")
)

// ImageSigner requires that images have a signature by a key.
type ImageSigner struct {
	// Prefix begins the names of the images: a registry, or a path in one.
	Prefix string
	Key    trust.ImageKey
	Path   string // of the key, for messages
}

// VerifyImages checks that the images of b are signed as signers require, by the signatures
// that hang on them in b. Of several prefixes that fit an image the longest counts; one of
// the keys with it is enough. The error joins all problems: of class ErrVerify for
// signatures that are not good, of class ErrPolicy where there is none, and ErrNoImage for
// a prefix that fits no image.
func (b *Bundle) VerifyImages(signers []ImageSigner) error {
	return imageVerifier{b.lock, b.content}.verify(signers)
}

// imageVerifier checks the images of a Lock; read returns the verified content of a blob.
type imageVerifier struct {
	lock *manifests.Lock
	read func(manifests.Descriptor) ([]byte, error)
}

// storedImages reads the images in a store.
func storedImages(l *manifests.Lock, s *store.Store) imageVerifier {
	return imageVerifier{l, func(d manifests.Descriptor) ([]byte, error) {
		r, err := s.Get(d.Digest)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(reader.Limit(reader.Verify(r, d.Digest, d.Size), maxDocument))
	}}
}

func (v imageVerifier) verify(signers []ImageSigner) error {
	errs := unusedSigners(v.lock, signers)
	for _, a := range v.lock.Artifacts {
		if a.Kind != manifests.KindImage {
			continue
		}
		wanted := signersOf(signers, repositoryOf(&a))
		if len(wanted) == 0 {
			continue
		}
		if err := v.image(a, wanted); err != nil {
			errs = append(errs, err)
		}
	}
	manifests.SortErrors(errs)
	return errors.Join(errs...)
}

// unusedSigners returns an ErrNoImage for each prefix that fits no image.
func unusedSigners(l *manifests.Lock, signers []ImageSigner) []error {
	used := map[string]bool{}
	for _, a := range l.Artifacts {
		if wanted := signersOf(signers, repositoryOf(&a)); a.Kind == manifests.KindImage && len(wanted) > 0 {
			used[wanted[0].Prefix] = true
		}
	}
	var errs []error
	for _, s := range signers {
		if !used[s.Prefix] {
			used[s.Prefix] = true
			errs = append(errs, fmt.Errorf("signatures of %q: %w", s.Prefix, ErrNoImage))
		}
	}
	return errs
}

// signersOf returns the signers with the longest prefix that fits a repository.
func signersOf(signers []ImageSigner, repo string) []ImageSigner {
	var out []ImageSigner
	for _, s := range signers {
		if repo != s.Prefix && !strings.HasPrefix(repo, s.Prefix+"/") {
			continue
		}
		if len(out) > 0 && len(s.Prefix) > len(out[0].Prefix) {
			out = nil
		}
		if len(out) == 0 || s.Prefix == out[0].Prefix {
			out = append(out, s)
		}
	}
	return out
}

// image checks one image.
func (v imageVerifier) image(a manifests.Artifact, signers []ImageSigner) error {
	var keys []string
	for _, s := range signers {
		keys = append(keys, fmt.Sprintf("%s (%s)", s.Path, s.Key.Fingerprint()))
	}
	want := fmt.Sprintf("want one of %s by the key %s", a.Blob.Digest, strings.Join(keys, " or "))
	found, err := v.signatures(a)
	if err != nil {
		return badArtifact("check signature", a.Name, err)
	}
	if len(found) == 0 {
		return &ArtifactError{"check signature", a.Name, policyFailure(fmt.Errorf("%w, %s", ErrImageUnsigned, want))}
	}
	var reasons []string
	for _, f := range found {
		for _, s := range signers {
			images, err := s.Key.Verify(f.ImageSignature)
			if err == nil && slices.Contains(images, a.Blob.Digest.String()) {
				return nil
			}
			if err == nil {
				err = fmt.Errorf("is of %s", cmp.Or(strings.Join(images, ", "), "no image"))
			}
			reasons = append(reasons, fmt.Sprintf("found %s, which %v", f.name, err))
		}
	}
	slices.Sort(reasons)
	return badArtifact("check signature", a.Name, fmt.Errorf("%w: %s; %s", ErrImageSignature, strings.Join(slices.Compact(reasons), "; "), want))
}

// foundSignature is a signature and the name of the attachment that has it.
type foundSignature struct {
	trust.ImageSignature
	name string
}

// signatures returns the signatures that hang on an image: under cosign's tag, and as
// referrers. Whether they are of the image is in their content.
func (v imageVerifier) signatures(a manifests.Artifact) ([]foundSignature, error) {
	repo := repositoryOf(&a)
	tag := repo + ":" + image.ReferrersTag(a.Blob.Digest) + ".sig"
	var out []foundSignature
	for _, x := range v.lock.Artifacts {
		if x.Kind != manifests.KindAttachment || x.Name != tag && !strings.HasPrefix(x.Name, repo+"@") {
			continue
		}
		body, err := v.read(x.Blob)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Name, err)
		}
		m, err := image.Parse(x.Blob.MediaType, body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Name, err)
		}
		if x.Name != tag && (m.Subject == nil || m.Subject.Digest != a.Blob.Digest) {
			continue // hangs on another image of the repository
		}
		for _, layer := range m.Layers {
			if !isImageSignature(layer) {
				continue
			}
			content, err := v.read(manifests.Descriptor{Digest: layer.Digest, Size: layer.Size})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.Name, err)
			}
			out = append(out, foundSignature{trust.ImageSignature{
				MediaType: layer.MediaType, Content: content, Signature: layer.Annotations[trust.AnnotationCosign],
			}, x.Name})
		}
	}
	return out, nil
}

func isImageSignature(layer ocispec.Descriptor) bool {
	return layer.MediaType == trust.MediaTypeSimpleSigning || layer.MediaType == trust.MediaTypeSigstore
}

// ReadImageSigner returns the requirement that images below prefix are signed by the
// public key text of the file path.
func ReadImageSigner(prefix, path string, text []byte) (ImageSigner, error) {
	key, err := trust.ParseImageKey(text)
	if err != nil {
		return ImageSigner{}, fmt.Errorf("public key %q: %w", path, err)
	}
	return ImageSigner{Prefix: strings.TrimSuffix(prefix, "/"), Key: key, Path: path}, nil
}
