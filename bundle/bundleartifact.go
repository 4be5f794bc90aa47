package bundle

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests"
)

// bundleArtifact is the content of the bundle artifact.
type bundleArtifact struct {
	config  Config
	lock    *manifests.Lock
	openPGP []byte // nil if the bundle has none
}

func readBundleArtifact(s *blobSet, d ocispec.Descriptor) (bundleArtifact, error) {
	wait, err := startBundleArtifact(s, d)
	if err != nil {
		return bundleArtifact{}, err
	}
	return wait()
}

// startBundleArtifact reads the documents of the bundle artifact, and decodes the Lock
// beside its caller: at the start of serve that takes as long as all groups of files.
// wait returns the result.
func startBundleArtifact(s *blobSet, d ocispec.Descriptor) (wait func() (bundleArtifact, error), err error) {
	m, err := readArtifact(s, d)
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != manifests.ArtifactTypeBundle || len(m.Layers) < 1 || len(m.Layers) > 2 ||
		m.Layers[0].MediaType != manifests.MediaTypeLock {
		return nil, errors.New("is not the first artifact of a bundle")
	}
	var a bundleArtifact
	if a.config, err = readConfig(s, m); err != nil {
		return nil, err
	}
	raw, err := s.document(m.Layers[0], "lock", maxDocument)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if len(m.Layers) == 2 {
		if a.openPGP, err = readOpenPGP(s, m.Layers[1]); err != nil {
			return nil, err
		}
	}
	done := make(chan error, 1)
	go func() { done <- a.setLock(raw, m.Config.Digest) }()
	return func() (bundleArtifact, error) {
		if err := <-done; err != nil {
			return bundleArtifact{}, err
		}
		return a, nil
	}, nil
}

// setLock decodes the Lock, from which the config with the digest d was made.
func (a *bundleArtifact) setLock(raw []byte, d digest.Digest) error {
	var err error
	if a.lock, err = manifests.LoadSealedLock(raw); err != nil {
		return err
	}
	want, err := encode(configOf(a.lock, a.config.Keys, a.config.History))
	if err != nil {
		return err
	}
	if d != digest.FromBytes(want) {
		return errors.New("config and lock do not agree")
	}
	return nil
}

func readOpenPGP(s *blobSet, key ocispec.Descriptor) ([]byte, error) {
	if key.MediaType != manifests.MediaTypePublicKey || key.Annotations[ocispec.AnnotationTitle] != titlePublicKey {
		return nil, fmt.Errorf("second layer is %q, expected the repository key", key.MediaType)
	}
	content, err := s.document(key, titlePublicKey, maxOpenPGP)
	if err != nil {
		return nil, fmt.Errorf("repository key: %w", err)
	}
	return content, nil
}

// readConfig reads the config blob of the bundle artifact m.
func readConfig(s *blobSet, m ocispec.Manifest) (Config, error) {
	var c Config
	if m.Config.MediaType != manifests.MediaTypeBundleConfig {
		return c, errors.New("is not the first artifact of a bundle")
	}
	raw, err := s.document(m.Config, "config", maxDocument)
	if err == nil {
		err = decodeExact(raw, &c)
	}
	if err == nil && len(c.Keys) > 0 {
		_, err = c.publicKeys()
	}
	if err == nil {
		_, err = c.History.Keys()
	}
	if err != nil {
		return c, fmt.Errorf("config: %w", err)
	}
	return c, nil
}
