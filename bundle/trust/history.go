package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	kindStatement = "KeyStatement"
	kindHistories = "KeyHistories"
	// maxStatements bounds a history: each has a few hundred bytes.
	maxStatements = 200
)

var (
	// ErrRevoked means that a key was revoked, or that its time is over (exit code 5).
	ErrRevoked = errors.New("signed by a revoked key")
	// ErrHistory means that the statements about keys are forged, or contradict those seen
	// before (exit code 4).
	ErrHistory = errors.New("bad history of keys")
)

// Statement is signed by the holder of a key: it names the key that comes next, or those
// that nobody may accept any more.
type Statement struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Sequence counts the statements of a history, from 1; Previous is the digest of the one before.
	Sequence int64         `json:"sequence"`
	Previous digest.Digest `json:"previous,omitempty"`
	Created  time.Time     `json:"created"`
	Signer   string        `json:"signer"` // PEM
	// Next is the key (PEM) that signs from now on, also the next statement.
	Next string `json:"next,omitempty"`
	// Until ends the time in which bundles by Signer are accepted beside those by Next;
	// zero: no end.
	Until time.Time `json:"until,omitzero"`
	// Revoked are fingerprints of keys. They are refused, also for old bundles.
	Revoked []string `json:"revoked,omitempty"`
	// Signature is by Signer over the JSON of the statement without this field.
	Signature []byte `json:"signature,omitempty"`
}

// History is a chain of statements, each by the key that the ones before made the current
// one. The first key of the chain identifies it.
type History []Statement

// fingerprintForm matches the result of PublicKey.Fingerprint.
var fingerprintForm = strict.NewPattern(`^sha256:[0-9a-f]{64}$`)

// payload returns the bytes that are signed.
func (s Statement) payload() ([]byte, error) {
	s.Signature = nil
	return json.Marshal(s)
}

// digest returns the digest of the whole statement.
func (s Statement) digest() (digest.Digest, error) {
	b, err := json.Marshal(s)
	return digest.FromBytes(b), err
}

// Add returns h with one more statement, s, signed by k, which is the current key.
func (h History) Add(k *KeyPair, s Statement) (History, error) {
	s.APIVersion, s.Kind, s.Sequence = manifests.APIVersion, kindStatement, int64(len(h))+1
	s.Created, s.Until, s.Signer = s.Created.UTC().Truncate(time.Second), s.Until.UTC().Truncate(time.Second), string(k.PublicPEM())
	if len(h) > 0 {
		previous, err := h[len(h)-1].digest()
		if err != nil {
			return nil, err
		}
		s.Previous = previous
	}
	payload, err := s.payload()
	if err != nil {
		return nil, err
	}
	if s.Signature, err = k.SignIndex(payload); err != nil {
		return nil, err
	}
	out := append(slices.Clone(h), s)
	_, err = out.Keys()
	return out, err
}

// Keys checks every statement and returns the keys of the chain in their order; the last
// one is the current one. The error is ErrHistory.
func (h History) Keys() ([]PublicKey, error) {
	if len(h) > maxStatements {
		return nil, fmt.Errorf("%w: more than %d statements", ErrHistory, maxStatements)
	}
	var chain []PublicKey
	var previous digest.Digest
	for i, s := range h {
		signer, err := s.check(int64(i)+1, previous)
		if err == nil && i > 0 && !signer.Equal(chain[len(chain)-1]) {
			err = fmt.Errorf("is by %s, the current key is %s", signer, chain[len(chain)-1])
		}
		if err != nil {
			return nil, fmt.Errorf("%w: statement %d: %w", ErrHistory, i+1, err)
		}
		if i == 0 {
			chain = append(chain, signer)
		}
		if s.Next != "" {
			next, err := onePublicKey(s.Next)
			if err == nil && slices.ContainsFunc(chain, next.Equal) {
				err = fmt.Errorf("%s comes a second time", next)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: statement %d: next key: %w", ErrHistory, i+1, err)
			}
			chain = append(chain, next)
		}
		if slices.Contains(s.Revoked, chain[len(chain)-1].Fingerprint()) {
			return nil, fmt.Errorf("%w: statement %d revokes the current key and names no next one", ErrHistory, i+1)
		}
		if previous, err = s.digest(); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// check checks a statement by itself and returns its signer.
func (s Statement) check(sequence int64, previous digest.Digest) (PublicKey, error) {
	signer, err := onePublicKey(s.Signer)
	if err != nil {
		return signer, fmt.Errorf("signer: %w", err)
	}
	payload, err := s.payload()
	if err != nil {
		return signer, err
	}
	switch {
	case s.APIVersion != manifests.APIVersion || s.Kind != kindStatement:
		return signer, fmt.Errorf("apiVersion %q, kind %q", s.APIVersion, s.Kind)
	case s.Sequence != sequence || s.Previous != previous:
		return signer, fmt.Errorf("has the sequence %d after %q, expected %d after %q", s.Sequence, s.Previous, sequence, previous)
	case s.Next == "" && len(s.Revoked) == 0, s.Next == "" && !s.Until.IsZero():
		return signer, errors.New("names no key")
	}
	for _, f := range s.Revoked {
		if !fingerprintForm.MatchString(f) {
			return signer, fmt.Errorf("revokes %q, which is no fingerprint", f)
		}
	}
	// Not of the class of the error: the bundle may be good.
	if _, err := VerifyIndex(payload, s.Signature, []PublicKey{signer}); err != nil {
		return signer, errors.New("was not signed by the key that it names")
	}
	return signer, nil
}

func onePublicKey(text string) (PublicKey, error) {
	keys, err := ParsePublicKeys([]byte(text))
	if err == nil && (len(keys) != 1 || string(keys[0].PEM()) != text) {
		err = fmt.Errorf("%d keys, expected one in its usual form", len(keys))
	}
	if err != nil {
		return PublicKey{}, err
	}
	return keys[0], nil
}

// histories is the file in which a verifier keeps the histories that it has seen.
type histories struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Histories  []History `json:"histories"`
}

// EncodeHistories returns the text of a file for DecodeHistories.
func EncodeHistories(list []History) ([]byte, error) {
	b, err := json.MarshalIndent(histories{manifests.APIVersion, kindHistories, list}, "", " ")
	return append(b, '\n'), err
}

// DecodeHistories reads the text of EncodeHistories; an empty one has none.
func DecodeHistories(b []byte) ([]History, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var f histories
	if err := strict.DecodeJSON(b, &f); err != nil {
		return nil, fmt.Errorf("histories of keys: %w", err)
	}
	if f.APIVersion != manifests.APIVersion || f.Kind != kindHistories {
		return nil, fmt.Errorf("histories of keys: apiVersion %q, kind %q", f.APIVersion, f.Kind)
	}
	for _, h := range f.Histories {
		if _, err := h.Keys(); err != nil || len(h) == 0 {
			return nil, fmt.Errorf("histories of keys: %w", errors.Join(err, ErrHistory))
		}
	}
	return f.Histories, nil
}
