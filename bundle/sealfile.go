package bundle

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
)

// Sealed describes a bundle that SealFile has written.
type Sealed struct {
	Root digest.Digest // of index.json
	// Files are the bundle, or its parts in their order and then the list of them.
	Files []SealedFile
}

// SealFile writes the bundle to the file path, or to parts beside it if in.Split is
// smaller than the bundle. It writes names that end in ".partial", syncs them, renames
// them and syncs the directory, so that a bundle in one file is at any time the old
// one or the whole new one. The parts of a bundle get their list last, and a list that
// was there is removed first: in between there is no bundle.
// If in.ReadBack is set, the bundle is read back from the device and verified
// before the files are renamed. After an error the partial files are removed.
func SealFile(ctx context.Context, path string, in SealInput) (s Sealed, err error) {
	out, err := newOutput(path, in.Split)
	if err != nil {
		return s, fmt.Errorf("seal: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.discard())
		}
	}()
	if s.Root, err = Seal(ctx, out, in); err != nil {
		return s, err
	}
	if err := out.end(); err != nil {
		return s, err
	}
	if in.ReadBack {
		if err := verifyWritten(ctx, out.files, in, s.Root); err != nil {
			return s, err
		}
	}
	if s.Files, err = out.commit(s.Root, in.Key); err != nil {
		return s, fmt.Errorf("seal: %w", err)
	}
	return s, nil
}

func verifyWritten(ctx context.Context, paths []string, in SealInput, root digest.Digest) (err error) {
	o := OpenOptions{AllowUnsigned: in.Key == nil}
	if in.Key != nil {
		o.Keys = []trust.PublicKey{in.Key.Public()}
	}
	f, err := tarfile.OpenParts(ctx, paths)
	if err != nil {
		return fmt.Errorf("read back: %w", tarFailure(err))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := open(f, f.Index, o)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if b.Root() != root {
		return fmt.Errorf("read back: %w", verifyFailure(fmt.Errorf("root is %s, wrote %s", b.Root(), root)))
	}
	return b.Verify(ctx, VerifyOptions{})
}
