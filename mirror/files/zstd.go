package files

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/offk8s/offk8s/bundle/reader"
)

// maxWindow limits the memory of one decoder; pack writes windows of at most 8 MiB.
const maxWindow = 32 << 20

// zstdPool keeps decoders with their windows for later requests.
var zstdPool sync.Pool

func decoder(src io.Reader) (*zstd.Decoder, error) {
	if d, ok := zstdPool.Get().(*zstd.Decoder); ok {
		return d, d.Reset(src)
	}
	return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}

// serveDecoded sends a part of the plain content of zstd-stored bytes. It decodes all of
// it and hashes it meanwhile. The last bytes are sent only if the digest is right, so
// that a client never has a complete body of altered bytes.
func (s *Sender) serveDecoded(w http.ResponseWriter, r *http.Request, c *Content, part span, status int) error {
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return nil
	}
	if !s.acquire(r.Context()) {
		return busy(w)
	}
	defer func() { <-s.decoders }()
	d, err := decoder(io.NewSectionReader(c.Data, 0, c.Data.Size()))
	if err != nil {
		return notSent(w, fmt.Errorf("decode %q: %w", c.Name, err))
	}
	defer release(d)
	buf := buffers.Get().(*[small]byte)
	defer buffers.Put(buf)
	return s.copyDecoded(w, d, c, part, status, buf[:])
}

func release(d *zstd.Decoder) {
	if d.Reset(nil) == nil {
		zstdPool.Put(d)
	}
}

func busy(w http.ResponseWriter) error {
	h := w.Header()
	h.Del("Etag")
	h.Del("Content-Range")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "5")
	plainError(w, http.StatusServiceUnavailable, "too many clients that do not accept zstd; try again")
	return nil
}

func (s *Sender) copyDecoded(w http.ResponseWriter, d io.Reader, c *Content, part span, status int, buf []byte) error {
	r := reader.Verify(d, c.Plain.Digest, c.Plain.Size)
	started := false
	var held []byte // the last bytes of the part, until the rest is decoded
	for at := int64(0); ; {
		b := buf[:min(int64(len(buf)), c.Plain.Size-at)]
		_, err := io.ReadFull(r, b)
		send := part.of(b, at)
		at += int64(len(b))
		whole := at == c.Plain.Size
		if err == nil && whole {
			err = atEnd(r)
		}
		switch {
		case err != nil && !started:
			return notSent(w, fmt.Errorf("decode %q: %w", c.Name, err))
		case err != nil:
			return fmt.Errorf("decode %q: %w: %w", c.Name, ErrStorage, err)
		case !whole && len(send) > 0 && at >= part.start+part.length:
			held, send = slices.Clone(send), nil
		case whole && held != nil:
			send = held
		}
		s.extend(w)
		if !started && (len(send) > 0 || whole) {
			w.WriteHeader(status)
			started = true
		}
		if len(send) > 0 {
			if _, err := w.Write(send); err != nil {
				return fmt.Errorf("send %q: write to the client: %w", c.Name, err)
			}
		}
		if whole {
			return nil
		}
	}
}

// of returns the bytes of b, which begin at offset at, that belong to the part.
func (p span) of(b []byte, at int64) []byte {
	from := min(max(p.start-at, 0), int64(len(b)))
	to := min(max(p.start+p.length-at, from), int64(len(b)))
	return b[from:to]
}

// atEnd returns an error unless r ends here, and with it the one of reader.Verify,
// which io.ReadFull drops if it came with the last bytes.
func atEnd(r io.Reader) error {
	var one [1]byte
	if _, err := io.ReadFull(r, one[:]); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
