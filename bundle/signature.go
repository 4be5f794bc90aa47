package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/image"
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
		return nil // checkSigner checks it
	case sig == nil && o.AllowUnsigned:
		return nil
	case len(o.Keys) == 0 && len(o.Fingerprints) == 0 && o.AllowUnsigned:
		return nil // checkSigner checks it
	}
	b.seen = trust.Anchors{Keys: o.Keys, Fingerprints: o.Fingerprints, Histories: o.Histories}
	signer, keys, err := VerifyIndex(index, sig, b.seen, b.readDocument)
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

// VerifyIndex returns the key that made sig over the index.json of a bundle, and the keys
// that it was checked with: those that a accepts and, if none of them fits, those that the
// bundle names. read is as for ReadLock. A key can be revoked: see Config.History and
// trust.Anchors.Refuse. Beside the errors of trust.VerifyIndex, there is trust.ErrHistory.
func VerifyIndex(index, sig []byte, a trust.Anchors, read image.Reader) (trust.PublicKey, []trust.PublicKey, error) {
	keys := a.Accepted()
	signer, err := trust.VerifyIndex(index, sig, keys)
	if !errors.Is(err, trust.ErrUnknownKey) && !(errors.Is(err, trust.ErrNoKey) && len(a.Fingerprints) > 0) {
		return signer, keys, err
	}
	// Nothing vouches for the config blob yet, but a key with the right fingerprint is the
	// right key wherever it comes from, and statements are signed.
	config, configErr := readConfigOf(index, read)
	if configErr != nil {
		if len(keys) == 0 {
			err = configErr
		}
		return signer, keys, err
	}
	if a, err = a.See(config.History); err != nil {
		return signer, keys, err
	}
	keys = a.Accepted()
	named, err := config.publicKeys()
	if err != nil {
		return signer, keys, err
	}
	for _, k := range named {
		if slices.Contains(a.Fingerprints, k.Fingerprint()) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return signer, keys, fmt.Errorf("%w: the bundle has no key with the fingerprint %s", trust.ErrUnknownKey, strings.Join(a.Fingerprints, ", "))
	}
	signer, err = trust.VerifyIndex(index, sig, keys)
	return signer, keys, err
}

// readConfigOf returns the config blob of the bundle with this index.json.
func readConfigOf(index []byte, read image.Reader) (Config, error) {
	_, content, err := parseRoot(index)
	if err != nil {
		return Config{}, err
	}
	s := newBlobSet(read)
	artifacts, err := readContentIndex(s, content)
	if err != nil {
		return Config{}, fmt.Errorf("content index: %w", err)
	}
	m, err := readArtifact(s, artifacts[0])
	if err != nil {
		return Config{}, fmt.Errorf("bundle artifact: %w", err)
	}
	return readConfig(s, m)
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

// checkSigner refuses a signer that the history of keys ends. It checks a signature
// that no given key vouches for with the keys that the bundle names, so that accidents
// are noticed even then.
func (b *Bundle) checkSigner() (err error) {
	if b.signer != nil {
		if b.seen, err = b.seen.See(b.config.History); err != nil {
			return badArtifact("open", "config", err)
		}
		if err := b.seen.Refuse(*b.signer, time.Now()); err != nil {
			return policyFailure(err)
		}
		return nil
	}
	if b.head[MemberSignature] == nil {
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
