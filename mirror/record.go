package mirror

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// recorder notes status and bytes of a response. It keeps io.ReaderFrom (which
// sendfile needs) and http.ResponseController (through Unwrap) working.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom hands src to the connection, where a file becomes a sendfile.
func (r *recorder) ReadFrom(src io.Reader) (n int64, err error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	if rf, ok := r.ResponseWriter.(io.ReaderFrom); ok {
		n, err = rf.ReadFrom(src)
	} else {
		n, err = io.Copy(struct{ io.Writer }{r.ResponseWriter}, src)
	}
	r.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// finish counts and logs an answered request.
func (m *Mirror) finish(w *recorder, r *http.Request, took time.Duration, err error) {
	m.metrics.observe(classOf(r.URL.Path), w.status, w.bytes, took)
	level := slog.LevelInfo
	if err != nil {
		level = m.failed(err)
	}
	if !m.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", took),
		slog.String("remote", r.RemoteAddr),
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, slog.String("agent", agent))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	// The request's context is done when the client went away; the line is due all the same.
	m.log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}
