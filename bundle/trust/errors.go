package trust

import (
	"errors"
	"fmt"
)

// Errors of a verification. ErrUnsigned and ErrNoKey mean that policy refuses
// (exit code 5); ErrBadSignature and ErrUnknownKey mean that verification failed
// (exit code 4).
var (
	ErrUnsigned = errors.New("not signed")
	// ErrEmptySignature is ErrUnsigned for a signature of no bytes, which does not
	// count as none.
	ErrEmptySignature = fmt.Errorf("%w: the signature is empty", ErrUnsigned)
	ErrNoKey          = errors.New("no public key configured")
	ErrBadSignature   = errors.New("bad signature")
	ErrUnknownKey     = errors.New("signed by an unknown key")
	// ErrSigner means that a program that was to sign did not make a good signature.
	ErrSigner = errors.New("the signing program failed")
	// ErrKeyMode means that others can read a key file.
	ErrKeyMode = errors.New("others can read the key file")
	// ErrExternal means that only a Signer can sign for a key.
	ErrExternal = errors.New("the key file has no private key for bundles, which is in hardware or elsewhere")
	// ErrReplaced means that another key has come after the one of a key file.
	ErrReplaced = errors.New("the key was replaced")
	// ErrPrivate means that a public key was expected and a private one found.
	ErrPrivate = errors.New("is a signing key, expected a public key")
)
