package trust

import "crypto/ecdsa"

// PublicKey is a P-256 public key that may sign bundles.
type PublicKey struct {
	key  *ecdsa.PublicKey
	spki []byte
}
