package trust

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/offk8s/offk8s/manifests/strict"
)

// MediaTypeInToto is the payload type of in-toto statements in an envelope
// (in-toto/attestation spec/v1/envelope.md).
const MediaTypeInToto = "application/vnd.in-toto+json"

// SignStatement returns the DSSE envelope, one line of JSON, of an in-toto statement. It
// has the same bytes for the same statement as SignIndex has.
func (k *KeyPair) SignStatement(statement []byte) ([]byte, error) {
	sig, err := k.SignIndex(dsse.PAE(MediaTypeInToto, statement))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	b, err := json.Marshal(dsse.Envelope{
		PayloadType: MediaTypeInToto, Payload: base64.StdEncoding.EncodeToString(statement),
		Signatures: []dsse.Signature{{KeyID: k.Fingerprint(), Sig: base64.StdEncoding.EncodeToString(sig)}},
	})
	return append(b, '\n'), err
}

// OpenStatement returns the in-toto statement in an envelope, and the key of keys that
// signed it. The errors are those of VerifyIndex.
func OpenStatement(envelope []byte, keys []PublicKey) ([]byte, PublicKey, error) {
	var e dsse.Envelope
	if err := strict.DecodeJSON(envelope, &e); err != nil {
		return nil, PublicKey{}, fmt.Errorf("%w: no DSSE envelope: %w", ErrBadSignature, err)
	}
	statement, signed, sigs, err := unwrap(e)
	if err != nil {
		return nil, PublicKey{}, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	err = ErrUnsigned
	for _, sig := range sigs {
		signer, e := VerifyIndex(signed, sig, keys)
		if e == nil {
			return statement, signer, nil
		}
		err = e
	}
	return nil, PublicKey{}, err
}

// unwrap returns the statement of an envelope, the bytes that are signed for it, and their
// signatures.
func unwrap(e dsse.Envelope) (statement, signed []byte, sigs [][]byte, err error) {
	if e.PayloadType != MediaTypeInToto {
		return nil, nil, nil, fmt.Errorf("envelope of %q, want %q", e.PayloadType, MediaTypeInToto)
	}
	if statement, err = e.DecodeB64Payload(); err != nil {
		return nil, nil, nil, err
	}
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("signature: %w", err)
		}
		sigs = append(sigs, sig)
	}
	if len(sigs) == 0 {
		return nil, nil, nil, errors.New("envelope without a signature")
	}
	return bytes.Clone(statement), dsse.PAE(e.PayloadType, statement), sigs, nil
}
