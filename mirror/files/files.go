// Package files sends blobs of a bundle over HTTP: GET and HEAD with strong
// validators, one byte range, and zstd as content coding if the bundle stores the
// file compressed.
//
// A blob is sent from its place in the tar. Over plain TCP the kernel copies it
// (sendfile). That needs connections of NewConn and a ResponseWriter with ReadFrom, so
// middleware in front of a Sender must implement io.ReaderFrom. Over TLS, and if no
// single file holds the blob, the bytes pass through a buffer.
//
// A truncated answer with status 200 never looks complete: Content-Length is
// always set, and the connection is closed if the bytes end early.
package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// Content is the content of one URL. It is immutable and may be sent to many
// clients at a time.
type Content struct {
	Name   string        // for messages
	Digest digest.Digest // of the stored bytes
	Data   *io.SectionReader
	// Type is the Content-Type; empty means application/octet-stream.
	Type string
	// Plain describes the decoded content of zstd-stored bytes; zero otherwise.
	Plain manifests.Descriptor
	// Immutable content may be cached forever, because its URL names its digest.
	Immutable bool
	// Verified bytes are in memory, where no change of a file reaches them.
	Verified bool
	// Unchanged is called before the status line is sent and, for large content, again
	// after the last stored bytes were read and before they are sent, unless it is nil.
	// If it returns an error, the answer does not look complete.
	Unchanged func() error
}

func (c *Content) unchanged() error {
	if c.Unchanged == nil {
		return nil
	}
	return c.Unchanged()
}

// ErrChanged is what Unchanged returns if the bytes have to be checked again. If Serve
// returns it without ErrStorage, it sent nothing.
var ErrChanged = errors.New("the bundle file changed")

// ErrStorage means that the bundle and not the client is at fault: its bytes are
// unreadable, truncated or altered.
var ErrStorage = errors.New("bundle cannot be read")

// Options of a Sender; the zero value has usable defaults.
type Options struct {
	// WriteTimeout is how long a client may take for one piece of a body
	// (4 MiB) before the connection is cut; 0 means one minute.
	WriteTimeout time.Duration
	// Decoders limits how many clients receive decoded content at a time. Each
	// needs a zstd window of memory. 0 means 32.
	Decoders int
}

// Sender sends Content.
type Sender struct {
	timeout  time.Duration
	decoders chan struct{}
}

// NewSender returns a Sender.
func NewSender(o Options) *Sender {
	return &Sender{
		timeout:  cmp.Or(o.WriteTimeout, time.Minute),
		decoders: make(chan struct{}, cmp.Or(o.Decoders, 32)),
	}
}

// form is the representation of a Content for one request.
type form struct {
	digest   digest.Digest
	size     int64
	encoding string // Content-Encoding
	decode   bool
}

func choose(c *Content, r *http.Request) form {
	stored := form{digest: c.Digest, size: c.Data.Size()}
	switch {
	case c.Plain.IsZero():
		return stored
	case acceptsZstd(r.Header):
		stored.encoding = "zstd"
		return stored
	}
	return form{digest: c.Plain.Digest, size: c.Plain.Size, decode: true}
}

// Serve answers a GET or HEAD request with c. If it returns nil, the response is
// complete. If it returns ErrStorage, the client received status 500, or its
// connection was closed if the body had begun. See ErrChanged too.
func (s *Sender) Serve(w http.ResponseWriter, r *http.Request, c *Content) error {
	s.extend(w)
	f := choose(c, r)
	setHeader(w.Header(), c, f)
	if status := precondition(r, f); status != 0 {
		w.Header().Del("Content-Type")
		w.WriteHeader(status)
		return nil
	}
	part, status, err := f.part(r)
	if err != nil {
		return unsatisfiable(w, f.size)
	}
	part.setHeader(w.Header(), f.size, status)
	if !f.decode && r.Method == http.MethodGet && part.length <= small {
		err = s.sendSmall(w, r, c, part, status)
	} else if err = c.unchanged(); err != nil {
		err = notSent(w, err)
	} else if f.decode {
		return s.serveDecoded(w, r, c, part, status)
	} else {
		err = s.sendLarge(w, r, c, part, status)
	}
	if err != nil {
		return fmt.Errorf("send %q: %w", c.Name, err)
	}
	return nil
}

func setHeader(h http.Header, c *Content, f form) {
	typ := c.Type
	if typ == "" {
		typ = "application/octet-stream"
	}
	h.Set("Content-Type", typ)
	h.Set("Etag", etag(f.digest))
	if c.Immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	if !c.Plain.IsZero() {
		h.Set("Vary", "Accept-Encoding")
	}
	if f.encoding != "" {
		h.Set("Content-Encoding", f.encoding)
	}
	h.Set("Accept-Ranges", "bytes")
}

// precondition returns the status of a conditional request, or 0 if its conditions
// hold.
func precondition(r *http.Request, f form) int {
	if list := r.Header["If-Match"]; len(list) > 0 && !matches(list, etag(f.digest), false) {
		return http.StatusPreconditionFailed
	}
	if list := r.Header["If-None-Match"]; len(list) > 0 && matches(list, etag(f.digest), true) {
		return http.StatusNotModified
	}
	return 0
}

// part returns the part of the form that r asks for, and the status of the answer.
func (f form) part(r *http.Request) (span, int, error) {
	whole := span{0, f.size}
	if ifRange := r.Header.Get("If-Range"); ifRange != "" && ifRange != etag(f.digest) {
		return whole, http.StatusOK, nil
	}
	part, ok, err := parseRange(r.Header.Get("Range"), f.size)
	if !ok {
		return whole, http.StatusOK, err
	}
	return part, http.StatusPartialContent, nil
}

// setHeader sets what a client has to know about the part of size bytes.
func (p span) setHeader(h http.Header, size int64, status int) {
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.start, p.start+p.length-1, size))
	}
	h.Set("Content-Length", strconv.FormatInt(p.length, 10))
}

func unsatisfiable(w http.ResponseWriter, size int64) error {
	h := w.Header()
	h.Del("Content-Encoding")
	h.Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
	plainError(w, http.StatusRequestedRangeNotSatisfiable, errUnsatisfiable.Error())
	return nil
}

// Unavailable answers with status 503: the bytes may be readable later.
func Unavailable(w http.ResponseWriter, err error) {
	text := "the registry behind this mirror does not answer; try again later"
	if errors.Is(err, reader.ErrBusy) {
		text = "the cache of this mirror is full of files that are being sent; try again later"
	} else if _, ok := errors.AsType[*fs.PathError](err); ok {
		text = "this mirror cannot use its cache; see its log"
	}
	w.Header().Set("Retry-After", "5")
	plainError(w, http.StatusServiceUnavailable, text)
}

// notSent answers with status 500, or 503 if the bytes may be readable later, and
// returns ErrStorage. After ErrChanged it leaves the answer to the caller of Serve. The
// header must not have been written.
func notSent(w http.ResponseWriter, err error) error {
	h := w.Header()
	for _, name := range []string{"Etag", "Content-Encoding", "Content-Length", "Content-Range", "Accept-Ranges"} {
		h.Del(name)
	}
	if errors.Is(err, ErrChanged) {
		return err
	}
	h.Set("Cache-Control", "no-store")
	if errors.Is(err, reader.ErrUnavailable) {
		Unavailable(w, err)
	} else {
		plainError(w, http.StatusInternalServerError, "the bundle cannot be read; see the mirror's log")
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}

func plainError(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	// A failed write means that the client is gone.
	_, _ = io.WriteString(w, text+"\n")
}

// acquire takes a decoder slot and reports whether it got one in time.
func (s *Sender) acquire(ctx context.Context) bool {
	select {
	case s.decoders <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(s.timeout / 2)
	defer timer.Stop()
	select {
	case s.decoders <- struct{}{}:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}
