package trust

import (
	"crypto/ecdsa"
	"log/slog"
)

// Secret are bytes that never reach a log, an error or a report.
type Secret []byte

const redacted = "***"

// String returns a placeholder.
func (Secret) String() string { return redacted }

// GoString returns a placeholder.
func (Secret) GoString() string { return redacted }

// LogValue returns a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns a placeholder.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// KeyPair is what signs: a P-256 key for the bundle and an OpenPGP key for
// repository metadata.
type KeyPair struct {
	ecdsa *ecdsa.PrivateKey

	// OpenPGP is the serialised, unencrypted transferable secret key.
	OpenPGP Secret
	// OpenPGPPublic is the armoured public key.
	OpenPGPPublic []byte
}
