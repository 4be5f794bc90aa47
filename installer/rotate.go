package installer

import (
	"context"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
)

// KeyRing holds the keys of the encryption at rest: pki.Credentials.
type KeyRing interface {
	// Rotation returns how far the replacement of the key is.
	Rotation() (pki.Rotation, error)
	// Advance begins the next phase.
	Advance() error
}

// RotateKey replaces the key that encrypts Secrets in etcd, or goes on where an earlier run
// was interrupted. apply has to carry out an operation on all control planes; its error ends
// the run. A phase begins only when all API servers have the keys of the one before, so that
// each reads what the others write at any time.
func RotateKey(ctx context.Context, ring KeyRing, apply func(context.Context, pki.Rotation, stage.Operation) error) error {
	for {
		r, err := ring.Rotation()
		if err != nil {
			return err
		}
		// The first time too: nobody knows how far the last run came on the hosts.
		if err := apply(ctx, r, stage.RotateKey(r)); err != nil {
			return err
		}
		if err := ring.Advance(); err != nil {
			return err
		}
		if r.Phase == pki.RotationAlone {
			return nil
		}
	}
}
