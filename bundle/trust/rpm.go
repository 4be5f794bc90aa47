package trust

import (
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/offk8s/offk8s/bundle/rpm"
)

// Tags of the signature header that hold OpenPGP signatures, and of the header
// that hold the payload's digest (rpm 4.18, include/rpm/rpmtag.h).
const (
	rpmSigTagDSA     = 267  // header
	rpmSigTagRSA     = 268  // header
	rpmSigTagOpenPGP = 278  // header; base64, rpm 4.20 and later
	rpmSigTagPGP     = 1002 // header and payload
	rpmSigTagGPG     = 1005 // header and payload

	rpmTagPayloadDigest     = 5092
	rpmTagPayloadDigestAlgo = 5093
)

// rpmSignature is one signature of a package while its data is hashed.
type rpmSignature struct {
	*packetSignature
	tag     int
	payload bool // covers the payload too
	hash    hash.Hash
}

// VerifyRPM checks that the whole of f is signed by a key of k with SHA-256 or
// better, and returns the signer's primary fingerprint in upper-case hex. The header must be signed, and the payload must be covered:
// by its digest in the signed header or, in packages without one (EL7), by a
// signature over header and payload. Every signature of a known key must be
// good. errors.Is an error with ErrNoKey (k is empty),
// ErrUnsigned, ErrUnknownKey or ErrBadSignature.
func VerifyRPM(k *Keyring, f *rpm.File) (string, error) {
	if k.Empty() {
		return "", fmt.Errorf("rpm signature: %w", ErrNoKey)
	}
	fpr, err := verifyRPM(k, f, time.Now())
	if err != nil {
		return "", fmt.Errorf("rpm signature: %w", err)
	}
	return fpr, nil
}

func verifyRPM(k *Keyring, f *rpm.File, now time.Time) (string, error) {
	signatures, err := rpmSignatures(f)
	if err != nil {
		return "", err
	}
	want, digest, err := payloadDigest(f)
	if err != nil {
		return "", err
	}
	if err := hashRPM(f, signatures, digest); err != nil {
		return "", err
	}
	signer, covered := "", false
	var unknown error
	for _, s := range signatures {
		entity, err := s.verify(k, s.hash, now)
		if errors.Is(err, ErrUnknownKey) {
			unknown = fmt.Errorf("tag %d: %w", s.tag, err)
			continue
		}
		if err != nil {
			return "", fmt.Errorf("tag %d: %w", s.tag, err)
		}
		signer = fingerprint(entity)
		covered = covered || s.payload
	}
	if signer == "" {
		return "", unknown
	}
	if digest == nil {
		if !covered {
			return "", fmt.Errorf("%w: only the header is signed, and it has no payload digest", ErrUnsigned)
		}
		return signer, nil
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != want {
		return "", fmt.Errorf("%w: payload digest %s, header says %s", ErrBadSignature, got, want)
	}
	return signer, nil
}

// rpmSignatures parses every OpenPGP signature of a package.
func rpmSignatures(f *rpm.File) ([]*rpmSignature, error) {
	var out []*rpmSignature
	add := func(tag int, blob []byte, payload bool) error {
		s, err := parsePacketSignature(blob)
		if err == nil && s.text {
			err = errors.New("signature over text")
		}
		if err == nil {
			r := &rpmSignature{packetSignature: s, tag: tag, payload: payload}
			r.hash, err = s.newHash()
			out = append(out, r)
		}
		if err != nil {
			return fmt.Errorf("%w: tag %d: %w", ErrBadSignature, tag, err)
		}
		return nil
	}
	for _, tag := range []uint32{rpmSigTagDSA, rpmSigTagRSA, rpmSigTagPGP, rpmSigTagGPG} {
		if !f.Signature.Has(tag) {
			continue
		}
		if err := add(int(tag), f.Signature.Bytes(tag), tag == rpmSigTagPGP || tag == rpmSigTagGPG); err != nil {
			return nil, err
		}
	}
	for _, text := range f.Signature.Strings(rpmSigTagOpenPGP) {
		blob, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%w: tag %d: %w", ErrBadSignature, rpmSigTagOpenPGP, err)
		}
		if err := add(rpmSigTagOpenPGP, blob, false); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, ErrUnsigned
	}
	return out, nil
}

// payloadDigest returns the digest of the compressed payload that the header
// states, and a hash to compare it with, which is nil if the header states none.
func payloadDigest(f *rpm.File) (string, hash.Hash, error) {
	values := f.Header.Strings(rpmTagPayloadDigest)
	if len(values) == 0 {
		return "", nil, nil
	}
	algorithm := f.Header.Int(rpmTagPayloadDigestAlgo)
	h, ok := map[uint64]crypto.Hash{8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512}[algorithm]
	if !ok || len(values) != 1 {
		return "", nil, fmt.Errorf("%w: %d payload digests with hash algorithm %d", ErrBadSignature, len(values), algorithm)
	}
	return strings.ToLower(values[0]), h.New(), nil
}

// hashRPM writes the header to all hashes, and the payload to those that cover it.
func hashRPM(f *rpm.File, signatures []*rpmSignature, digest hash.Hash) error {
	var payload []io.Writer
	if digest != nil {
		payload = append(payload, digest)
	}
	for _, s := range signatures {
		s.hash.Write(f.Header.Raw())
		if s.payload {
			payload = append(payload, s.hash)
		}
	}
	if len(payload) == 0 {
		return nil
	}
	content := f.Payload()
	n, err := io.Copy(io.MultiWriter(payload...), content)
	if err == nil && n != content.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read payload: %w", err)
	}
	return nil
}
