package bundle

import (
	"context"
	"errors"
)

// VerifyOptions tune Verify; the zero value is good.
type VerifyOptions struct {
	// Workers hash in parallel; 0 means one for each core.
	Workers int
	// Progress is called with bytes hashed so far and in all, never concurrently.
	Progress func(done, total int64)
}

// Verify hashes every blob. All bad members are reported, joined, each an
// *ArtifactError of class ErrVerify.
func (b *Bundle) Verify(ctx context.Context, o VerifyOptions) error {
	return errors.New("verify: under construction")
}
