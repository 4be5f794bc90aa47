package trust

import "errors"

// What a verification can end with. Policy refused: ErrUnsigned, ErrNoKey (exit
// 5). Verification failed: ErrBadSignature, ErrUnknownKey (exit 4).
var (
	ErrUnsigned     = errors.New("not signed")
	ErrNoKey        = errors.New("no public key configured")
	ErrBadSignature = errors.New("bad signature")
	ErrUnknownKey   = errors.New("signed by an unknown key")
)
