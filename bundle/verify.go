package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// VerifyOptions tune Verify; the zero value is good.
type VerifyOptions struct {
	// Workers is how many blobs are hashed in parallel; 0 means one for each core.
	Workers int
	// Content decodes every compressed blob too, and compares it with the digest of its
	// content. The index covers both, so this finds what was sealed wrong, not what was
	// altered later. It takes several times as long.
	Content bool
	// Progress is called with the stored bytes that are hashed so far and the
	// total, never concurrently; nil means not at all.
	Progress func(done, total int64)
}

// Verify hashes every blob as it is stored, as far as b and its open bases have it.
// Blobs are started in the order of the tar, which suits slow sticks. The error
// joins all bad parts and all bad blobs, sorted, each an *ArtifactError of class
// ErrVerify. An error of the device or of ctx ends Verify at once.
func (b *Bundle) Verify(ctx context.Context, o VerifyOptions) error {
	v := verifier{b: b, progress: o.Progress, plain: map[digest.Digest][]manifests.Descriptor{}}
	for _, f := range b.files {
		if o.Content && f.MediaType == manifests.MediaTypeFileZstd && !slices.Contains(v.plain[f.Blob.Digest], f.Plain) {
			v.plain[f.Blob.Digest] = append(v.plain[f.Blob.Digest], f.Plain)
		}
	}
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	blobs := slices.DeleteFunc(b.Blobs(), func(d digest.Digest) bool {
		_, _, err := b.member(d)
		_, left := errors.AsType[*BaseError](err)
		return left
	})
	for _, d := range blobs {
		v.total += b.blobs[d].Size
	}
	for _, d := range blobs {
		g.Go(func() error { return v.blob(running, d) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	manifests.SortErrors(v.bad)
	return b.file.blame(ctx, errors.Join(v.bad...))
}

// Blobs returns the digests of all blobs in the order of the tar.
func (b *Bundle) Blobs() []digest.Digest { return b.sorted() }

// verifier is the state of one Verify.
type verifier struct {
	b     *Bundle
	plain map[digest.Digest][]manifests.Descriptor // decoded content by compressed blob

	mu       sync.Mutex
	progress func(done, total int64)
	done     int64
	total    int64
	bad      []error
}

// blob returns an error that ends the whole run; a bad blob is appended to v.bad.
func (v *verifier) blob(ctx context.Context, d digest.Digest) error {
	err := v.stored(ctx, d)
	for _, plain := range v.plain[d] {
		if err != nil {
			break
		}
		err = v.decoded(ctx, d, plain)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = badArtifact("verify", v.b.Label(d), err)
	if !errors.Is(err, ErrVerify) {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bad = append(v.bad, err)
	return nil
}

func (v *verifier) stored(ctx context.Context, d digest.Digest) error {
	r, err := v.b.Blob(d)
	if err != nil {
		return err
	}
	if err := drain(reader.Verify(v.counting(reader.Context(ctx, r)), d, r.Size())); err != nil {
		return fmt.Errorf("member %q: %w", blobName(d), err)
	}
	return nil
}

// decoded checks the plain content of a blob whose stored form is verified. It
// stops at the first byte too many, so that a bomb costs no time.
func (v *verifier) decoded(ctx context.Context, d digest.Digest, plain manifests.Descriptor) error {
	r, err := v.b.Blob(d)
	if err != nil {
		return err
	}
	z, err := newZstdReader(reader.Context(ctx, r))
	if err != nil {
		return err
	}
	defer z.Close()
	if err := drain(reader.Verify(z, plain.Digest, plain.Size)); err != nil {
		return fmt.Errorf("member %q: decode: %w", blobName(d), err)
	}
	return nil
}

// counting reports progress while r is read.
func (v *verifier) counting(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if v.progress != nil && n > 0 {
			v.mu.Lock()
			v.done += int64(n)
			v.progress(v.done, v.total)
			v.mu.Unlock()
		}
		return n, err
	})
}

// drain reads r to its end.
func drain(r io.Reader) error {
	b := newBlock()
	defer b.release()
	// The wrapper hides ReadFrom, which would not use the buffer.
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, b.b[:])
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
