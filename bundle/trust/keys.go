package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// KeyPair signs bundles: a P-256 key for the bundle and an OpenPGP key for
// repository metadata. It prints as the fingerprint of its public key.
type KeyPair struct {
	ecdsa  *ecdsa.PrivateKey // nil: elsewhere, sign makes its signatures
	public PublicKey
	sign   Signer

	// OpenPGP is the serialised, unencrypted transferable secret key.
	OpenPGP Secret
	// OpenPGPPublic is the armoured public key that belongs to it.
	OpenPGPPublic []byte

	// History is in every bundle that the pair signs; its current key is this one.
	History History

	parsed *parsedKey // nil: parse OpenPGP for each signature
}

// parsedKey is an OpenPGP key and its serialised form. Copies of a KeyPair share it.
type parsedKey struct {
	mu     sync.Mutex
	of     Secret
	entity *openpgp.Entity
}

// Signer returns the signature of message, as KeyPair.SignIndex does, by a key that this
// program does not have.
type Signer func(message []byte) ([]byte, error)

// GenerateExternal makes a pair whose bundle key, public, is elsewhere, in hardware for
// example: WithSigner gives it its signatures. t is as in GenerateKeys.
func GenerateExternal(public PublicKey, t time.Time) (*KeyPair, error) {
	private, armoured, err := generateOpenPGP(t)
	if err != nil {
		return nil, err
	}
	return &KeyPair{public: public, OpenPGP: private, OpenPGPPublic: armoured, parsed: &parsedKey{}}, nil
}

// WithSigner returns a copy of k whose bundle signatures sign makes.
func (k *KeyPair) WithSigner(sign Signer) *KeyPair {
	c := *k
	c.sign = sign
	return &c
}

// External reports whether the private bundle key is elsewhere.
func (k *KeyPair) External() bool { return k.ecdsa == nil }

// GenerateKeys makes a new pair from the system's randomness. The OpenPGP key
// is dated t: signatures dated before t fail verification.
func GenerateKeys(t time.Time) (*KeyPair, error) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate bundle key: %w", err)
	}
	private, public, err := generateOpenPGP(t)
	if err != nil {
		return nil, err
	}
	return newKeyPair(ec, private, public)
}

func newKeyPair(ec *ecdsa.PrivateKey, private, public []byte) (*KeyPair, error) {
	pub, err := newPublicKey(&ec.PublicKey)
	if err != nil {
		return nil, err
	}
	return &KeyPair{ecdsa: ec, public: pub, OpenPGP: private, OpenPGPPublic: public, parsed: &parsedKey{}}, nil
}

// Public returns the P-256 public key.
func (k *KeyPair) Public() PublicKey { return k.public }

// PublicPEM returns the content of offk8s.pub.
func (k *KeyPair) PublicPEM() []byte { return k.public.PEM() }

// Fingerprint returns the fingerprint of the P-256 public key.
func (k *KeyPair) Fingerprint() string { return k.public.Fingerprint() }

// SignIndex returns the DER signature over SHA-256 of index; the same bytes for
// the same index, unless a Signer makes it. The error is ErrSigner if the Signer fails or
// its signature is not one of this key, and ErrExternal if there is none.
func (k *KeyPair) SignIndex(index []byte) ([]byte, error) {
	if k.sign == nil {
		if k.External() {
			return nil, ErrExternal
		}
		return signIndex(k.ecdsa, index)
	}
	sig, err := k.sign(index)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSigner, err)
	}
	if _, err := VerifyIndex(index, sig, []PublicKey{k.public}); err != nil {
		return nil, fmt.Errorf("%w: its %d bytes are no signature by the key %s", ErrSigner, len(sig), k.Fingerprint())
	}
	return sig, nil
}

func (k *KeyPair) openPGPPrivate() []byte { return k.OpenPGP }

// Format writes the fingerprint for every verb.
func (k *KeyPair) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.Fingerprint()) }

// LogValue returns the fingerprint.
func (k *KeyPair) LogValue() slog.Value { return slog.StringValue(k.Fingerprint()) }

// MarshalJSON returns the fingerprint. Use MarshalEncrypted to store a pair.
func (k *KeyPair) MarshalJSON() ([]byte, error) { return json.Marshal(k.Fingerprint()) }
