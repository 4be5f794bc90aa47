package trust

import "errors"

// Errors of a verification. ErrUnsigned and ErrNoKey mean that policy refuses
// (exit code 5); ErrBadSignature and ErrUnknownKey mean that verification failed
// (exit code 4).
var (
	ErrUnsigned     = errors.New("not signed")
	ErrNoKey        = errors.New("no public key configured")
	ErrBadSignature = errors.New("bad signature")
	ErrUnknownKey   = errors.New("signed by an unknown key")
)
