package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Formats of a signature of an image by cosign, the media types of the layers that hold
// them: the payload of sigstore/cosign specs/SIGNATURE_SPEC.md, whose signature is an
// annotation of the layer, and since cosign 3 a Sigstore bundle around a DSSE envelope.
const (
	MediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	MediaTypeSigstore      = sigstoreMediaType

	AnnotationCosign = "dev.cosignproject.cosign/signature"

	cosignPayload   = "cosign container image signature"    // critical.type of a payload
	cosignPredicate = "https://sigstore.dev/cosign/sign/v1" // predicate type of a statement
)

// ErrOtherKey means that a signature of an image is not by the key it was checked with.
var ErrOtherKey = errors.New("is by another key")

// ImageKey is a public key that signs container images: ECDSA on P-256, or Ed25519.
type ImageKey struct {
	key  crypto.PublicKey
	spki []byte
}

// ParseImageKey reads one public key, PEM of a PKIX SubjectPublicKeyInfo as in cosign.pub.
func ParseImageKey(text []byte) (ImageKey, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil || block.Type != pemPublicKey:
		return ImageKey{}, fmt.Errorf("no PEM block %q", pemPublicKey)
	case len(bytes.TrimSpace(rest)) > 0:
		return ImageKey{}, errors.New("more than one public key")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return ImageKey{}, err
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return ImageKey{}, fmt.Errorf("key on %s, want P-256 or Ed25519", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return ImageKey{}, fmt.Errorf("key of type %T, want ECDSA P-256 or Ed25519", key)
	}
	return ImageKey{key, block.Bytes}, nil
}

// Fingerprint is as that of a PublicKey.
func (k ImageKey) Fingerprint() string {
	sum := sha256.Sum256(k.spki)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (k ImageKey) verify(message, sig []byte) bool {
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	}
	return false
}

// ImageSignature is a signature of an image as it hangs on the image.
type ImageSignature struct {
	MediaType string // one of the two formats
	Content   []byte // of the layer
	Signature string // the annotation of the layer, base64; a bundle has none
}

// Verify returns the digests of the images that s signs. The error is ErrOtherKey if k did
// not make the signature. Nothing else in the signature, such as a certificate, an entry
// of a log or the name of an image, is looked at.
func (k ImageKey) Verify(s ImageSignature) (images []string, err error) {
	switch s.MediaType {
	case MediaTypeSimpleSigning:
		return k.verifyPayload(s)
	case MediaTypeSigstore:
		return k.verifyBundle(s.Content)
	}
	return nil, fmt.Errorf("unknown format %q", s.MediaType)
}

func (k ImageKey) verifyPayload(s ImageSignature) ([]string, error) {
	sig, err := base64.StdEncoding.DecodeString(s.Signature)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if !k.verify(s.Content, sig) {
		return nil, ErrOtherKey
	}
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(s.Content, &p); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if p.Critical.Type != cosignPayload {
		return nil, fmt.Errorf("payload is a %q, want a %q", p.Critical.Type, cosignPayload)
	}
	return []string{p.Critical.Image.Digest}, nil
}

func (k ImageKey) verifyBundle(content []byte) ([]string, error) {
	var b struct {
		Envelope *dsse.Envelope `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(content, &b); err != nil {
		return nil, fmt.Errorf("sigstore bundle: %w", err)
	}
	if b.Envelope == nil {
		return nil, errors.New("sigstore bundle without an envelope")
	}
	statement, signed, sigs, err := unwrap(*b.Envelope)
	if err != nil {
		return nil, err
	}
	good := false
	for _, sig := range sigs {
		good = good || k.verify(signed, sig)
	}
	if !good {
		return nil, ErrOtherKey
	}
	var s struct {
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(statement, &s); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	if s.PredicateType != cosignPredicate {
		return nil, fmt.Errorf("statement is a %q, want a %q", s.PredicateType, cosignPredicate)
	}
	var images []string
	for _, subject := range s.Subject {
		for algorithm, hex := range subject.Digest {
			images = append(images, algorithm+":"+hex)
		}
	}
	return images, nil
}
