package bundle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
)

// partialSuffix marks a bundle that is being written. The next run replaces it.
const partialSuffix = ".partial"

// SealFile writes the bundle to the file path and returns the digest of its
// index.json. It writes path.partial, syncs it, renames it over path and syncs
// the directory, so that path is at any time the old file or the whole new one.
// If in.ReadBack is set, the file is read back from the device and verified
// before it is renamed. After an error path.partial is removed and path is
// unchanged.
func SealFile(ctx context.Context, path string, in SealInput) (root digest.Digest, err error) {
	partial := path + partialSuffix
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(partial))
		}
	}()
	if root, err = sealAndSync(ctx, f, in); err != nil {
		return "", err
	}
	if in.ReadBack {
		if err := verifyWritten(ctx, partial, in, root); err != nil {
			return "", err
		}
	}
	if err := durable.Rename(partial, path); err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return root, nil
}

// sealAndSync writes the bundle to f, syncs it to the device and closes f.
func sealAndSync(ctx context.Context, f *os.File, in SealInput) (digest.Digest, error) {
	var out io.Writer = f
	if in.Sum != nil {
		out = io.MultiWriter(f, in.Sum)
	}
	w := bufio.NewWriterSize(out, 1<<20)
	root, err := Seal(ctx, w, in)
	if err != nil {
		return "", errors.Join(err, f.Close())
	}
	if err := errors.Join(w.Flush(), f.Sync()); err != nil {
		return "", errors.Join(fmt.Errorf("seal: write %q: %w", f.Name(), err), f.Close())
	}
	// Best effort: otherwise the read back would come from memory, not the device.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("seal: close %q: %w", f.Name(), err)
	}
	return root, nil
}

func verifyWritten(ctx context.Context, path string, in SealInput, root digest.Digest) (err error) {
	o := OpenOptions{AllowUnsigned: in.Key == nil}
	if in.Key != nil {
		o.Keys = []trust.PublicKey{in.Key.Public()}
	}
	b, err := Open(ctx, []string{path}, o)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if b.Root() != root {
		return fmt.Errorf("read back: %w", verifyFailure(fmt.Errorf("root is %s, wrote %s", b.Root(), root)))
	}
	return b.Verify(ctx, VerifyOptions{})
}
