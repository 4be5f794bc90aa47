package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
)

// checkSignature decides whether index.json may be parsed.
func (b *Bundle) checkSignature(o OpenOptions) error {
	index, sig := b.head[MemberIndex], b.head[MemberSignature]
	b.root = digest.FromBytes(index)
	switch {
	case o.root != "" && o.root != b.root:
		return fmt.Errorf("%w: it has the root %s", ErrOtherBase, b.root)
	case o.root != "":
		return nil // checkSelfSigned checks it
	case sig == nil && o.AllowUnsigned:
		return nil
	case len(o.Keys) == 0 && len(o.Fingerprints) == 0 && o.AllowUnsigned:
		return nil // checkSelfSigned checks it
	}
	keys := o.Keys
	if len(sig) > 0 && len(o.Fingerprints) > 0 {
		named, err := b.keysOf(o.Fingerprints)
		if err != nil {
			return badArtifact("open", MemberIndex, err)
		}
		keys = append(slices.Clone(keys), named...)
		if len(keys) == 0 {
			return badArtifact("open", MemberSignature, fmt.Errorf("%w: the bundle has no key with the fingerprint %s", trust.ErrUnknownKey, strings.Join(o.Fingerprints, ", ")))
		}
	}
	signer, err := trust.VerifyIndex(index, sig, keys)
	switch {
	case errors.Is(err, trust.ErrUnsigned), errors.Is(err, trust.ErrNoKey):
		return policyFailure(err)
	case errors.Is(err, trust.ErrUnknownKey) && b.claimsSigner(keys):
		return badArtifact("open", MemberIndex, fmt.Errorf("%w: altered after a trusted key signed it", trust.ErrBadSignature))
	case err != nil:
		return badArtifact("open", MemberSignature, err)
	}
	b.signer, b.maker = &signer, &signer
	return b.checkSigstore(signer)
}

// keysOf returns the keys with these fingerprints among those in the bundle's config
// blob. Nothing vouches for the blob yet, but a key with the right fingerprint is
// the right key wherever it comes from.
func (b *Bundle) keysOf(fingerprints []string) ([]trust.PublicKey, error) {
	_, content, err := parseRoot(b.head[MemberIndex])
	if err != nil {
		return nil, err
	}
	s := newBlobSet(b.readDocument)
	artifacts, err := readContentIndex(s, content)
	if err != nil {
		return nil, fmt.Errorf("content index: %w", err)
	}
	m, err := readArtifact(s, artifacts[0])
	if err != nil {
		return nil, fmt.Errorf("bundle artifact: %w", err)
	}
	config, err := readConfig(s, m)
	if err != nil {
		return nil, err
	}
	keys, err := config.publicKeys()
	return slices.DeleteFunc(keys, func(k trust.PublicKey) bool {
		return !slices.Contains(fingerprints, k.Fingerprint())
	}), err
}

// publicKeys returns the keys of c.
func (c Config) publicKeys() ([]trust.PublicKey, error) {
	return trust.ParsePublicKeys([]byte(strings.Join(c.Keys, "")))
}

// claimsSigner reports whether the Sigstore bundle names one of keys.
func (b *Bundle) claimsSigner(keys []trust.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k trust.PublicKey) bool {
		return trust.SigstoreHints(b.head[MemberSigstore], k)
	})
}

func (b *Bundle) checkSigstore(signer trust.PublicKey) error {
	want, err := trust.SigstoreBundle(b.head[MemberIndex], b.head[MemberSignature], signer)
	if err != nil {
		return err
	}
	if !bytes.Equal(b.head[MemberSigstore], want) {
		return badArtifact("open", MemberSigstore, fmt.Errorf("is not the Sigstore form of %s", MemberSignature))
	}
	return nil
}

// checkSelfSigned checks a signature that no given key vouches for with the
// keys that the bundle names, so that accidents are noticed even then.
func (b *Bundle) checkSelfSigned() error {
	if b.signer != nil || b.head[MemberSignature] == nil {
		return nil
	}
	keys, err := b.config.publicKeys()
	if err != nil {
		return badArtifact("open", "config", err)
	}
	signer, err := trust.VerifyIndex(b.head[MemberIndex], b.head[MemberSignature], keys)
	if err != nil {
		return badArtifact("open", MemberSignature, err)
	}
	b.maker = &signer
	return b.checkSigstore(signer)
}
