package agent

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/json"
	"fmt"
)

// The secrets of a request are encrypted for the agent alone, with the key of its
// EventKey, which it makes when it starts: sudo and other programs between the operator
// and the agent may record everything that passes (log_input in sudoers). SSH
// authenticates the host, and with it the key. The encryption is HPKE (RFC 9180), base mode.
func sealing() (hpke.KEM, hpke.KDF, hpke.AEAD, []byte) {
	return hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(Protocol + " secrets")
}

// NewKey returns a new key for Options.Key.
func NewKey() (hpke.PrivateKey, error) {
	kem, _, _, _ := sealing()
	return kem.GenerateKey()
}

// SealSecrets returns Request.Sealed for the agent with that Event.Key.
func SealSecrets(key []byte, values map[string][]byte) ([]byte, error) {
	kem, kdf, aead, info := sealing()
	public, err := kem.NewPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of the agent: %w", err)
	}
	plain, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(public, kdf, aead, info, plain)
}

// OpenSecrets reverses SealSecrets.
func OpenSecrets(key hpke.PrivateKey, sealed []byte) (map[string][]byte, error) {
	_, kdf, aead, info := sealing()
	plain, err := hpke.Open(key, kdf, aead, info, sealed)
	if err != nil {
		return nil, fmt.Errorf("sealed secrets: %w", err)
	}
	var values map[string][]byte
	if json.Unmarshal(plain, &values) != nil { // its error could quote a secret
		return nil, fmt.Errorf("sealed secrets: %w", ErrRequest)
	}
	return values, nil
}
