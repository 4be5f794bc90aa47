package mirror

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/mirror/files"
)

// class is the kind of client that uses a path, for the metrics.
type class int

const (
	classOther class = iota
	classRegistry
	classFiles
	classCharts
	classYum
	classApt
	classBundle
	classConfig
	classes
)

var classNames = [classes]string{"other", "registry", "files", "charts", "yum", "apt", "bundle", "config"}

func classOf(path string) class {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "v2":
		return classRegistry
	case "files":
		return classFiles
	case "charts":
		return classCharts
	case "yum":
		return classYum
	case "apt":
		return classApt
	case "bundle":
		return classBundle
	case "config", "keys", "install.sh", "ca.crt", "offk8s.asc":
		return classConfig
	}
	return classOther
}

// metrics are the counters of a Mirror, and of those that it replaces in a Server.
type metrics struct {
	requests  [classes][600]atomic.Int64 // by status
	bytes     [classes]atomic.Int64
	nanos     [classes]atomic.Int64
	inFlight  atomic.Int64
	transfers transfers
	storage   atomic.Int64 // requests that failed because of the bundle
	aborted   atomic.Int64 // bodies that the client did not read to the end
}

func (m *metrics) observe(c class, status int, bytes int64, took time.Duration) {
	if status < 0 || status >= len(m.requests[c]) {
		status = 0
	}
	m.requests[c][status].Add(1)
	m.bytes[c].Add(bytes)
	m.nanos[c].Add(int64(took))
}

// failed counts a failed request and returns the level of its log line.
func (m *Mirror) failed(err error) slog.Level {
	if errors.Is(err, files.ErrStorage) || errors.Is(err, bundle.ErrVerify) {
		m.metrics.storage.Add(1)
		return slog.LevelError
	}
	m.metrics.aborted.Add(1)
	return slog.LevelInfo
}

// WriteMetrics writes the counters in the Prometheus text format, version 0.0.4.
func (m *Mirror) WriteMetrics(w io.Writer) error {
	p := printer{w: bufio.NewWriter(w)}
	m.requestMetrics(&p)
	m.scrubMetrics(&p)
	m.bundleMetrics(&p)
	return p.w.Flush()
}

func (m *Mirror) requestMetrics(p *printer) {
	p.family("offk8s_requests_total", "counter", "requests by kind and status")
	for c := range classes {
		for status := range m.metrics.requests[c] {
			if n := m.metrics.requests[c][status].Load(); n > 0 {
				p.sample("offk8s_requests_total", n, "kind", classNames[c], "code", strconv.Itoa(status))
			}
		}
	}
	p.family("offk8s_response_bytes_total", "counter", "bytes of response bodies")
	for c := range classes {
		p.sample("offk8s_response_bytes_total", m.metrics.bytes[c].Load(), "kind", classNames[c])
	}
	p.family("offk8s_request_seconds_total", "counter", "time spent in requests")
	for c := range classes {
		p.sample("offk8s_request_seconds_total", time.Duration(m.metrics.nanos[c].Load()).Seconds(), "kind", classNames[c])
	}
	p.one("offk8s_requests_in_flight", "gauge", "requests being answered", m.metrics.inFlight.Load())
	p.one("offk8s_bundle_errors_total", "counter", "requests that failed because of the bundle", m.metrics.storage.Load())
	p.one("offk8s_aborted_total", "counter", "responses that the client did not read to the end", m.metrics.aborted.Load())
}

func (m *Mirror) scrubMetrics(p *printer) {
	var count [blobStates]int64
	generation := m.watch.generation.Load()
	for _, b := range m.scrub.blobs {
		count[b.known(generation)]++
	}
	p.family("offk8s_blobs", "gauge", "blobs of the bundles by the result of their last check")
	p.sample("offk8s_blobs", count[unchecked], "state", "unchecked")
	p.sample("offk8s_blobs", count[good], "state", "good")
	p.sample("offk8s_blobs", count[bad], "state", "bad")
	p.one("offk8s_scrub_bytes_total", "counter", "bytes hashed by the scrub", m.scrub.bytes.Load())
	p.one("offk8s_scrub_passes_total", "counter", "whole passes of the scrub", m.scrub.passes.Load())
	p.one("offk8s_scrub_last_pass_timestamp_seconds", "gauge", "end of the last whole pass, 0 before the first", m.scrub.lastPass.Load())
	p.one("offk8s_bundle_file_changes_total", "counter", "times that a bundle file was written to, moved or replaced while served", generation)
}

func (m *Mirror) bundleMetrics(p *printer) {
	p.family("offk8s_bundle_created_timestamp_seconds", "gauge", "when the bundle was packed")
	for _, b := range m.bundles {
		l := b.Lock()
		p.sample("offk8s_bundle_created_timestamp_seconds", l.Created.Unix(), "name", l.Name, "root", b.Root().String())
	}
	p.family("offk8s_bundle_sequence", "gauge", "sequence of the bundle")
	for _, b := range m.bundles {
		l := b.Lock()
		p.sample("offk8s_bundle_sequence", l.Sequence, "name", l.Name, "root", b.Root().String())
	}
	p.family("offk8s_bundle_expires_timestamp_seconds", "gauge", "when the bundle expires; no sample if it does not expire")
	for _, b := range m.bundles {
		l := b.Lock()
		if !l.Expires.IsZero() {
			p.sample("offk8s_bundle_expires_timestamp_seconds", l.Expires.Unix(), "name", l.Name, "root", b.Root().String())
		}
	}
}

// printer writes the text format. The bufio.Writer keeps write errors.
type printer struct{ w *bufio.Writer }

func (p *printer) family(name, kind, help string) {
	_, _ = fmt.Fprintf(p.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (p *printer) one(name, kind, help string, value int64) {
	p.family(name, kind, help)
	p.sample(name, value)
}

// labelEscaper escapes the value of a label.
var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (p *printer) sample(name string, value any, labels ...string) {
	_, _ = p.w.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		_, _ = fmt.Fprintf(p.w, `%s%s="%s"`, sep, labels[i], labelEscaper.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		_ = p.w.WriteByte('}')
	}
	_, _ = fmt.Fprintf(p.w, " %v\n", value)
}

// writeMetrics writes the metrics of the server.
func (s *Server) writeMetrics(w io.Writer, l *limit) {
	p := printer{w: bufio.NewWriter(w)}
	p.one("offk8s_connections", "gauge", "open client connections, including the one that is awaited", int64(l.open()))
	if end := s.certificateExpiry(); !end.IsZero() {
		p.one("offk8s_certificate_expiry_timestamp_seconds", "gauge", "end of the server certificate", end.Unix())
	}
	_ = p.w.Flush() // a failed write means that the client is gone
}
