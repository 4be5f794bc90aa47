// Package reader checks content while it is read: against a digest and a size,
// against a limit, against a pace, and against a context.
//
//	r := reader.Verify(reader.Context(ctx, f), d.Digest, d.Size)
//	if _, err := io.Copy(w, r); errors.Is(err, reader.ErrMismatch) { … }
//
// The readers do not close the reader below them, pass its errors through and
// return their first error again on every later Read. They are not safe for
// concurrent use.
package reader

import (
	"bytes"
	"context"
	_ "crypto/sha512" // digests are sha256, which go-digest links, or sha512
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

var (
	// ErrMismatch means that content does not have the expected digest or size.
	ErrMismatch = errors.New("content does not match its digest")
	// ErrTooLarge means that content is longer than its limit.
	ErrTooLarge = errors.New("content is too large")
	// ErrUnavailable means that content cannot be reached now, and may be later.
	ErrUnavailable = errors.New("content cannot be reached now")
)

// AnySize is the size to give to Verify if only the digest is known.
const AnySize = -1

// Verify returns a reader of r that fails with ErrMismatch unless the content
// of r has the digest d and is size bytes long. A wrong digest is reported with
// the last bytes or instead of io.EOF; a longer content is reported at its
// first byte too many, so that at most size+1 bytes are read from r. If d is
// not a valid digest, the first Read fails.
func Verify(r io.Reader, d digest.Digest, size int64) io.Reader {
	if err := d.Validate(); err != nil {
		return &verifier{err: fmt.Errorf("digest %q: %w", d, err)}
	}
	return &verifier{r: r, want: d, size: size, hash: d.Algorithm().Digester()}
}

// VerifyBytes returns ErrMismatch unless b has the digest d and is size bytes long.
func VerifyBytes(b []byte, d digest.Digest, size int64) error {
	_, err := io.Copy(io.Discard, Verify(bytes.NewReader(b), d, size))
	return err
}

type verifier struct {
	r    io.Reader
	want digest.Digest
	size int64 // AnySize: unknown
	hash digest.Digester
	n    int64 // bytes read
	err  error // returned by every Read from now on
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	if v.size >= 0 {
		p = p[:min(int64(len(p)), v.size-v.n+1)]
	}
	n, err := v.r.Read(p)
	if v.size >= 0 && v.n+int64(n) > v.size {
		v.err = mismatch("content has more than %d bytes", v.size)
		return n - 1, v.err
	}
	v.n += int64(n)
	_, _ = v.hash.Hash().Write(p[:n]) // a hash returns no error
	switch {
	case errors.Is(err, io.EOF) && v.n < v.size:
		err = mismatch("content has %d bytes, want %d", v.n, v.size)
	case errors.Is(err, io.EOF) || n > 0 && v.n == v.size:
		if got := v.hash.Digest(); got != v.want {
			err = mismatch("content has digest %s, want %s", got, v.want)
		}
	}
	v.err = err
	return n, err
}

// Limit returns a reader of r that fails with ErrTooLarge at the first byte
// after n bytes, where io.LimitReader would pretend that r ends.
func Limit(r io.Reader, n int64) io.Reader { return &limiter{r: r, limit: n, left: n} }

type limiter struct {
	r           io.Reader
	limit, left int64
	err         error
}

func (l *limiter) Read(p []byte) (int, error) {
	if l.err != nil || len(p) == 0 {
		return 0, l.err
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if int64(n) > l.left {
		l.err = &failure{fmt.Sprintf("content has more than %d bytes", l.limit), ErrTooLarge}
		return n - 1, l.err
	}
	l.left -= int64(n)
	l.err = err
	return n, err
}

// Context returns a reader of r that fails with the cause of ctx once ctx is
// done. A Read of r that blocks is not interrupted.
func Context(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})
}

// Whole returns err, or io.ErrUnexpectedEOF if err means that the content ended in
// the middle of a structure.
func Whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Head keeps the first Max bytes that are written to it and drops the rest,
// so that a program that prints too much neither fails nor fills memory.
type Head struct {
	Max int
	// Not embedded: io.Copy would call its ReadFrom and go past Write.
	buf bytes.Buffer
}

// Write returns len(p) and no error.
func (h *Head) Write(p []byte) (int, error) {
	if room := h.Max - h.buf.Len(); room > 0 {
		h.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Bytes returns the bytes that were kept.
func (h *Head) Bytes() []byte { return h.buf.Bytes() }

// String returns the bytes that were kept.
func (h *Head) String() string { return h.buf.String() }

// failure is an error of a class with a text of its own.
type failure struct {
	text  string
	class error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.class }

func mismatch(format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), ErrMismatch}
}
