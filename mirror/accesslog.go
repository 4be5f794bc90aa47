package mirror

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// responseWriter counts the status and bytes of a response. It implements
// io.ReaderFrom, which sendfile needs, and Unwrap for http.ResponseController.
type responseWriter struct {
	http.ResponseWriter
	status int
	bytes  atomic.Int64 // sent
	length atomic.Int64 // of the body, once it is known
}

func (r *responseWriter) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		if n, err := strconv.ParseInt(r.Header().Get("Content-Length"), 10, 64); err == nil {
			r.length.Store(n)
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *responseWriter) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes.Add(int64(n))
	return n, err
}

// ReadFrom passes src to the connection, which sends a file with sendfile.
func (r *responseWriter) ReadFrom(src io.Reader) (n int64, err error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	if rf, ok := r.ResponseWriter.(io.ReaderFrom); ok {
		n, err = rf.ReadFrom(src)
	} else {
		n, err = io.Copy(struct{ io.Writer }{r.ResponseWriter}, src)
	}
	r.bytes.Add(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *responseWriter) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// logRequest counts and logs a request after its response.
func (m *Mirror) logRequest(w *responseWriter, r *http.Request, took time.Duration, err error) {
	m.metrics.observe(classOf(r.URL.Path), w.status, w.bytes.Load(), took)
	level := slog.LevelInfo
	_, _, tried := r.BasicAuth()
	if w.status == http.StatusUnauthorized && tried || w.status == http.StatusNotFound || w.status >= http.StatusInternalServerError {
		level = slog.LevelWarn // an operator looks for these first
	}
	if err != nil {
		level = max(level, m.failed(err))
	}
	// If the client is gone, the context of the request is done.
	ctx := context.WithoutCancel(r.Context())
	if !m.log.Enabled(ctx, level) && !m.options.AccessLog.Enabled(ctx, slog.LevelInfo) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes.Load()),
		slog.Duration("took", took),
		slog.String("remote", r.RemoteAddr),
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, slog.String("agent", agent))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	m.log.LogAttrs(ctx, level, "request", attrs...)
	m.options.AccessLog.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}
