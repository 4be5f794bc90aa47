package trust

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// sigstoreMediaType is version 0.3 of the format of sigstore/protobuf-specs,
// sigstore_bundle.proto, in its JSON form.
const sigstoreMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

type sigstoreBundle struct {
	MediaType            string `json:"mediaType"`
	VerificationMaterial struct {
		PublicKey struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
	} `json:"verificationMaterial"`
	MessageSignature struct {
		MessageDigest struct {
			Algorithm string `json:"algorithm"`
			Digest    []byte `json:"digest"`
		} `json:"messageDigest"`
		Signature []byte `json:"signature"`
	} `json:"messageSignature"`
}

// SigstoreBundle returns the signature der over index by pub as a Sigstore
// bundle without a log entry. The same input gives the same bytes.
func SigstoreBundle(index, der []byte, pub PublicKey) ([]byte, error) {
	var b sigstoreBundle
	sum := sha256.Sum256(index)
	b.MediaType = sigstoreMediaType
	b.VerificationMaterial.PublicKey.Hint = pub.hint()
	b.MessageSignature.MessageDigest.Algorithm = "SHA2_256"
	b.MessageSignature.MessageDigest.Digest = sum[:]
	b.MessageSignature.Signature = der
	out, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode sigstore bundle: %w", err)
	}
	return out, nil
}

// SigstoreHints reports whether the Sigstore bundle b claims to be signed by
// pub. Use it for hints in error messages only: nothing is verified.
func SigstoreHints(b []byte, pub PublicKey) bool {
	var s sigstoreBundle
	return json.Unmarshal(b, &s) == nil && s.VerificationMaterial.PublicKey.Hint == pub.hint()
}

func (k PublicKey) hint() string {
	sum := sha256.Sum256(k.spki)
	return base64.StdEncoding.EncodeToString(sum[:])
}
