package files

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
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

// serveDecoded sends the plain content of zstd-stored bytes, without ranges, and
// hashes it meanwhile. The last bytes are sent only if the digest is right, so
// that a client never has a complete body of altered bytes.
func (s *Sender) serveDecoded(w http.ResponseWriter, r *http.Request, c *Content) error {
	w.Header().Set("Content-Length", strconv.FormatInt(c.Plain.Size, 10))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if !s.acquire(r.Context()) {
		return busy(w)
	}
	defer func() { <-s.decoders }()
	d, err := decoder(io.NewSectionReader(c.Data, 0, c.Data.Size()))
	if err != nil {
		return storageError(w, fmt.Errorf("decode %q: %w", c.Name, err))
	}
	defer release(d)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	return s.copyDecoded(w, d, c, *buf)
}

func release(d *zstd.Decoder) {
	if d.Reset(nil) == nil {
		zstdPool.Put(d)
	}
}

func busy(w http.ResponseWriter) error {
	h := w.Header()
	h.Del("Etag")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "5")
	plainError(w, http.StatusServiceUnavailable, "too many clients that do not accept zstd; try again")
	return nil
}

func (s *Sender) copyDecoded(w http.ResponseWriter, d io.Reader, c *Content, buf []byte) error {
	r := reader.Verify(d, c.Plain.Digest, c.Plain.Size)
	started := false
	for left := c.Plain.Size; ; {
		b := buf[:min(int64(len(buf)), left)]
		_, err := io.ReadFull(r, b)
		left -= int64(len(b))
		if err == nil && left == 0 {
			err = atEnd(r)
		}
		switch {
		case err != nil && !started:
			return storageError(w, fmt.Errorf("decode %q: %w", c.Name, err))
		case err != nil:
			return fmt.Errorf("decode %q: %w: %w", c.Name, ErrStorage, err)
		}
		if !started {
			w.WriteHeader(http.StatusOK)
			started = true
		}
		s.extend(w)
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("send %q: write to the client: %w", c.Name, err)
		}
		if left == 0 {
			return nil
		}
	}
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
