package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"

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
// before the files are renamed; then in.Check decides. After an error the partial files are removed.
func SealFile(ctx context.Context, path string, in SealInput) (Sealed, error) {
	out, err := newOutput(path, in.Split)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal: %w", err)
	}
	in.expect, in.later, out.check = out.expect, in.ReadBack, in.Check
	return out.finish(ctx, in.ReadBack, in.Key, func() (digest.Digest, error) { return Seal(ctx, out, in) })
}

// Merge writes a bundle that was opened with its bases, or from parts, to the file
// path as SealFile does: the same bytes as those of the whole bundle. It calls progress
// with the bytes that are written so far and the total.
func Merge(ctx context.Context, b *Bundle, path string, progress func(done, total int64)) (Sealed, error) {
	if err := b.Whole(); err != nil {
		return Sealed{}, err
	}
	out, err := newOutput(path, 0)
	if err != nil {
		return Sealed{}, fmt.Errorf("merge: %w", err)
	}
	var total int64
	for _, d := range b.blobs {
		total += d.Size
	}
	if err := out.expect(total); err != nil {
		return Sealed{}, fmt.Errorf("merge: %w", err)
	}
	return out.finish(ctx, true, nil, func() (digest.Digest, error) { return b.root, b.merge(ctx, out, progress) })
}

func (b *Bundle) merge(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	t := tarfile.NewWriter(w)
	var head []headMember
	for _, h := range headLimits {
		if content := b.head[h.name]; content != nil && h.name != MemberBase {
			head = append(head, headMember{h.name, content})
		}
	}
	if err := addHead(t, head); err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	var done, total int64
	for _, d := range b.blobs {
		total += d.Size
	}
	for _, d := range b.Blobs() {
		if err := b.addBlob(ctx, t, d); err != nil {
			return badArtifact("merge", b.labels[d], err)
		}
		done += b.blobs[d].Size
		progress(done, total)
	}
	return t.Close()
}

// finish lets write fill the output, reads it back if readBack is set, lets o.check decide,
// and commits it.
func (o *output) finish(ctx context.Context, readBack bool, key *trust.KeyPair, write func() (digest.Digest, error)) (s Sealed, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, o.discard())
		}
	}()
	if s.Root, err = write(); err != nil {
		return s, err
	}
	if err := o.end(); err != nil {
		return s, err
	}
	if readBack {
		if err := verifyWritten(ctx, o.files, s.Root); err != nil {
			return s, fmt.Errorf("read back: %w", err)
		}
	}
	var list []byte
	if len(o.files) > 1 {
		if list, err = encodePartList(s.Root, o.parts, key); err != nil {
			return s, fmt.Errorf("seal: %w", err)
		}
	}
	if o.check != nil {
		if err := o.present(ctx, list); err != nil {
			return s, err
		}
	}
	if s.Files, err = o.commit(list); err != nil {
		return s, fmt.Errorf("seal: %w", err)
	}
	return s, nil
}

// verifyWritten verifies a bundle that was written, and that it is the one with this root.
func verifyWritten(ctx context.Context, paths []string, root digest.Digest) (err error) {
	f, err := tarfile.OpenParts(ctx, paths)
	if err != nil {
		return tarFailure(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := open(f, f.Index, OpenOptions{root: root})
	if errors.Is(err, ErrOtherBase) {
		return verifyFailure(fmt.Errorf("index.json is not what was written, with the digest %s", root))
	}
	if err != nil {
		return err
	}
	return b.Verify(ctx, VerifyOptions{})
}
