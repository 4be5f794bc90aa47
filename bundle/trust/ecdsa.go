package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

const pemPublicKey = "PUBLIC KEY"

// PublicKey is a P-256 public key that may sign bundles. The zero value
// verifies nothing.
type PublicKey struct {
	key  *ecdsa.PublicKey
	spki []byte // DER
}

func newPublicKey(k *ecdsa.PublicKey) (PublicKey, error) {
	if k.Curve != elliptic.P256() {
		return PublicKey{}, fmt.Errorf("public key is on %s, expected P-256", k.Curve.Params().Name)
	}
	spki, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return PublicKey{}, fmt.Errorf("encode public key: %w", err)
	}
	return PublicKey{key: k, spki: spki}, nil
}

// ParsePublicKeys reads one or more P-256 public keys, PEM of a PKIX
// SubjectPublicKeyInfo each. Anything after a block that is no block is an error.
// The error is ErrPrivate if text is the content of offk8s.key or another private
// key.
func ParsePublicKeys(text []byte) ([]PublicKey, error) {
	if isKeyFile(text) {
		return nil, fmt.Errorf("parse public key 1: %w", ErrPrivate)
	}
	var keys []PublicKey
	for rest := text; len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("parse public key %d: not PEM", len(keys)+1)
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, fmt.Errorf("parse public key %d: %w", len(keys)+1, ErrPrivate)
		}
		if block.Type != pemPublicKey {
			return nil, fmt.Errorf("parse public key %d: PEM type %q, expected %q", len(keys)+1, block.Type, pemPublicKey)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse public key %d: %w", len(keys)+1, err)
		}
		ec, ok := parsed.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("parse public key %d: is %T, expected ECDSA P-256", len(keys)+1, parsed)
		}
		k, err := newPublicKey(ec)
		if err != nil {
			return nil, fmt.Errorf("parse public key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("parse public keys: no key found")
	}
	return keys, nil
}

// Fingerprint returns "sha256:<hex>" of the SubjectPublicKeyInfo in DER, as
// `openssl pkey -pubin -outform DER | sha256sum` prints it.
func (k PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.spki)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PEM returns the content of offk8s.pub.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Bytes: k.spki})
}

// Equal reports whether k and o are the same key.
func (k PublicKey) Equal(o PublicKey) bool { return bytes.Equal(k.spki, o.spki) }

// String returns the fingerprint.
func (k PublicKey) String() string { return k.Fingerprint() }

// signIndex is deterministic: without a source of randomness crypto/ecdsa
// follows RFC 6979.
func signIndex(k *ecdsa.PrivateKey, index []byte) ([]byte, error) {
	sum := sha256.Sum256(index)
	der, err := k.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign index: %w", err)
	}
	return der, nil
}

// VerifyIndex returns the key of keys that made sig over index. It returns
// ErrUnsigned if sig is nil or empty, ErrNoKey if there are no keys, ErrBadSignature if
// sig is not a strict DER signature, and ErrUnknownKey if no key made sig over
// index: a plain signature does not show whether the index was altered or the
// key is an unknown one.
func VerifyIndex(index, sig []byte, keys []PublicKey) (PublicKey, error) {
	switch {
	case sig == nil:
		return PublicKey{}, ErrUnsigned
	case len(sig) == 0:
		return PublicKey{}, ErrEmptySignature
	}
	if len(keys) == 0 {
		return PublicKey{}, ErrNoKey
	}
	if !canonicalSignature(sig) {
		return PublicKey{}, fmt.Errorf("%w: %d bytes that are no DER signature", ErrBadSignature, len(sig))
	}
	sum := sha256.Sum256(index)
	for _, k := range keys {
		if k.key != nil && ecdsa.VerifyASN1(k.key, sum[:], sig) {
			return k, nil
		}
	}
	return PublicKey{}, fmt.Errorf("%w, or index.json was altered: checked with %s", ErrUnknownKey, fingerprints(keys))
}

// canonicalSignature reports whether sig is the only DER encoding of its two
// numbers, with nothing after it.
func canonicalSignature(sig []byte) bool {
	var v struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(sig, &v)
	if err != nil || len(rest) != 0 || v.R.Sign() <= 0 || v.S.Sign() <= 0 {
		return false
	}
	again, err := asn1.Marshal(v)
	return err == nil && bytes.Equal(again, sig)
}

func fingerprints(keys []PublicKey) string {
	var list []string
	for _, k := range keys {
		list = append(list, k.Fingerprint())
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
