package trust

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// ErrPassphrase means that something sealed does not open with the passphrase given
// (exit code 12). A wrong passphrase and altered content look the same.
var ErrPassphrase = errors.New("wrong passphrase")

// Seal encrypts plain with a passphrase: scrypt and NaCl's secretbox, in
// go-securesystemslib's JSON envelope, that of cosign.key. The same input gives another
// output each time.
func Seal(plain, pass []byte) (json.RawMessage, error) {
	if len(pass) == 0 {
		return nil, errors.New("the passphrase is empty")
	}
	return encrypted.Encrypt(plain, pass)
}

// Unseal reverses Seal. The error is ErrPassphrase.
func Unseal(sealed json.RawMessage, pass []byte) (Secret, error) {
	plain, err := encrypted.Decrypt(sealed, pass)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrPassphrase, err)
	}
	return plain, nil
}
