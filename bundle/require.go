package bundle

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// Require is the evidence that Resolve and Pack demand of all artifacts; empty: any.
type Require string

const (
	// RequirePinned demands a digest in the catalog or in the files of the user, or a
	// vendor's signature.
	RequirePinned Require = "pinned"
	// RequireSigned demands that as well. Images that are not of the catalog must have a
	// signature by an ImageSigner too, which Pack checks.
	RequireSigned Require = "signed"
)

// refusals returns an error of class ErrPolicy for each artifact of l without the evidence,
// as far as it can be told without the signatures.
func (q Require) refusals(l *manifests.Lock, signers []ImageSigner) []error {
	if q == "" {
		return nil
	}
	var errs []error
	fail := func(a manifests.Artifact, text string) {
		errs = append(errs, &ArtifactError{"resolve", a.Name, policyFailure(errors.New(text))})
	}
	known := catalogImages(l)
	for _, a := range l.Artifacts {
		if a.Source.Trust == manifests.TrustFirstUse {
			fail(a, "no digest is pinned for it in the catalog")
		}
		if q != RequireSigned || a.Kind != manifests.KindImage || a.Source.Trust == manifests.TrustLocal {
			continue
		}
		if d, ok := known[a.Name]; ok && d == a.Source.Digest {
			continue
		}
		if len(signersOf(signers, repositoryOf(&a))) == 0 {
			fail(a, "is not of the catalog, and no key for its signature is given")
		}
	}
	return errs
}

// catalogImages returns the digests of the images that the catalog names for l, by name.
func catalogImages(l *manifests.Lock) map[string]digest.Digest {
	out := map[string]digest.Digest{}
	roles := []map[string]catalog.Image{l.Release.Images, l.CNIRelease.Images}
	for _, a := range l.Addons {
		if !a.Release.Literal { // or else it is of the user
			roles = append(roles, a.Release.Images)
		}
	}
	for _, images := range roles {
		for _, image := range images {
			if a, err := imageArtifact(image); err == nil && a.Source.Digest != "" {
				out[a.Name] = a.Source.Digest
			}
		}
	}
	return out
}
