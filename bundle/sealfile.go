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

// Size returns the size of the bundle in bytes, without a list of parts.
func (s Sealed) Size() int64 {
	files := s.Files
	if n := len(files); n > 1 {
		files = files[:n-1]
	}
	var size int64
	for _, f := range files {
		size += f.Size
	}
	return size
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
	in.expect = func(size int64, opened []tarfile.Member) error { return out.expect(size, opened, in.stored) }
	in.later, out.check = in.ReadBack, in.Check
	return out.finish(ctx, in.ReadBack, in.Key, func() (digest.Digest, error) { return Seal(ctx, out, in) })
}

// Merge writes a bundle that was opened with its bases, or from parts, to o.Output as
// SealFile does: the same bytes as those of the whole bundle. It calls o.Progress
// with the bytes that are written so far and the total. If the output is in parts and the
// bundle is signed, or if o.Key is set, o.Key must be the key of the bundle; the error is
// of class ErrOtherKey otherwise.
func Merge(ctx context.Context, b *Bundle, o WriteOptions) (Sealed, error) {
	if err := b.Whole(); err != nil {
		return Sealed{}, err
	}
	size := b.MergedSize()
	if parts := o.Split > 0 && size > o.Split; parts || o.Key != nil {
		if err := b.checkKey(o.Key); err != nil {
			return Sealed{}, fmt.Errorf("merge: %w", err)
		}
	}
	out, err := newOutput(o.Output, o.Split)
	if err != nil {
		return Sealed{}, fmt.Errorf("merge: %w", err)
	}
	if err := out.expect(size, nil, ""); err != nil {
		return Sealed{}, fmt.Errorf("merge: %w", err)
	}
	sealed, err := out.finish(ctx, true, o.Key, func() (digest.Digest, error) { return b.root, b.merge(ctx, out, o.Progress) })
	if errors.Is(err, ErrVerify) && ctx.Err() == nil {
		// The copy has other bytes; if b has them too, it names them better.
		if bad := b.Verify(ctx, VerifyOptions{}); bad != nil {
			err = fmt.Errorf("merge: %w", bad)
		}
	}
	return sealed, err
}

// MergedSize returns the size of what Merge writes in bytes, without a list of parts.
func (b *Bundle) MergedSize() int64 {
	_, size := place(b.wholeHead(), b.Blobs(), b.blobs)
	return size
}

// wholeHead returns the members before the blobs of the whole bundle.
func (b *Bundle) wholeHead() []headMember {
	var head []headMember
	for _, h := range headLimits {
		if content := b.head[h.name]; content != nil && h.name != MemberBase {
			head = append(head, headMember{h.name, content})
		}
	}
	return head
}

// checkKey returns an error unless key made the signature of b; nil is the key of an
// unsigned bundle.
func (b *Bundle) checkKey(key *trust.KeyPair) error {
	const none = "none"
	want, got := none, none
	if b.maker != nil {
		want = b.maker.Fingerprint()
	}
	if key != nil {
		got = key.Fingerprint()
	}
	if got != want {
		return fmt.Errorf("bundle %q: signing key %s, expected %s: %w", b.Path(), got, want, ErrOtherKey)
	}
	return nil
}

func (b *Bundle) merge(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	t := tarfile.NewWriter(w)
	if err := addHead(t, b.wholeHead()); err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	var done, total int64
	for _, d := range b.blobs {
		total += d.Size
	}
	for _, d := range b.Blobs() {
		r, err := b.Blob(d)
		if err == nil {
			err = t.Add(blobName(d), b.blobs[d].Size, newSource(ctx, r))
		}
		if err != nil {
			return badArtifact("merge", b.Label(d), err)
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
