package files

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// small content is read at once and sent in one write. That is cheaper than sendfile,
// and a read error is known before the status line is sent.
const small = 64 << 10

// buffers are for copies through memory. A slow client holds one only while its bytes
// go that way.
var buffers = sync.Pool{New: func() any { return new([small]byte) }}

// sendSmall writes the status line and a small part of c.
func (s *Sender) sendSmall(w http.ResponseWriter, r *http.Request, c *Content, part span, status int) error {
	buf := buffers.Get().(*[small]byte)
	defer buffers.Put(buf)
	body := buf[:part.length]
	err := readFull(c.Data, body, part.start)
	if err == nil {
		err = c.unchanged()
	}
	if err != nil {
		return notSent(w, err)
	}
	w.WriteHeader(status)
	to, ok := w.(io.ReaderFrom)
	if conn := connOf(r); ok && conn != nil && r.TLS == nil && len(body) > 0 {
		err = conn.together(w, to, body)
	} else {
		_, err = w.Write(body)
	}
	if err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

// sendLarge and its callers have small frames: the collector halves a stack of which less
// than a quarter is in use, and with a transfer that waits it is a little less than that
// of 16 KiB.
func (s *Sender) sendLarge(w http.ResponseWriter, r *http.Request, c *Content, part span, status int) error {
	start, length := part.start, part.length
	// Read both ends first, so that a truncated file or a removed stick becomes
	// status 500 and not a broken connection after a good status line.
	if length > 0 {
		for _, at := range []int64{start, start + length - 1} {
			if err := readFull(c.Data, make([]byte, 1), at); err != nil {
				return notSent(w, err)
			}
		}
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	p := s.pace(w, r)
	if file, base := origin(c.Data); file != nil && p.conn != nil && r.TLS == nil {
		// The last bytes pass through memory, so that a change of the file that came
		// before they were read breaks the connection.
		n, err := copyFile(w, p, &extent{file: file, at: base + start, length: length - min(length, small)})
		if err != nil {
			return err
		}
		start, length = start+n, length-n
	}
	return copyBuffered(w, p, c, span{start, length})
}

// copyFile sends a part of a file through the ResponseWriter's ReadFrom, which ends in
// sendfile, and returns how many bytes it sent: none if the kernel cannot do that for
// the file. While it waits for the client, net/http holds no buffer.
func copyFile(w http.ResponseWriter, p *pace, part *extent) (sent int64, err error) {
	to, ok := w.(io.ReaderFrom)
	if !ok {
		return 0, nil
	}
	for left := part.length; left > 0; {
		x := &extent{file: part.file, at: part.at + sent, length: p.next(left)}
		n, err := to.ReadFrom(x)
		sent += n
		left -= n
		p.wrote(n)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP):
			return sent, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return sent, fmt.Errorf("%w: %q ended %d bytes early", ErrStorage, part.file.Name(), left)
		case errors.Is(err, syscall.EIO): // of the disk; a lost client causes another error
			return sent, fmt.Errorf("%w: %q: %w", ErrStorage, part.file.Name(), err)
		case err == nil && x.full:
			err = p.conn.wait()
		}
		if err != nil {
			return sent, fmt.Errorf("write to the client: %w", err)
		}
	}
	return sent, nil
}

// copyBuffered sends a part of c through memory, to its end. The last bytes follow only
// if c is unchanged.
func copyBuffered(w http.ResponseWriter, p *pace, c *Content, part span) error {
	for part.length > 0 {
		n, err := p.fit(min(part.length, small))
		if err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
		if err := copyPiece(w, c, span{part.start, n}, n == part.length); err != nil {
			return err
		}
		part.start += n
		part.length -= n
		p.wrote(n)
	}
	return nil
}

// copyPiece sends a part of c, at most small.
func copyPiece(w http.ResponseWriter, c *Content, part span, last bool) error {
	buf := buffers.Get().(*[small]byte)
	defer buffers.Put(buf)
	b := buf[:part.length]
	err := readFull(c.Data, b, part.start)
	if err == nil && last {
		err = c.unchanged()
	}
	if err != nil {
		return fmt.Errorf("%w: %w, %d bytes early", ErrStorage, err, len(b))
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

// readFull fills b from offset off. A ReadAt may return io.EOF with the last bytes.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// extend sets the write deadline for the next piece. It ignores writers without
// deadlines (tests).
func (s *Sender) extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.timeout))
}
