package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/mirror/files"
	"github.com/offk8s/offk8s/mirror/oci"
)

// ErrConflict means that good bundles cannot be served together.
var ErrConflict = oci.ErrConflict

// Options of a Mirror; the zero value has usable defaults.
type Options struct {
	// PublicURL is the URL of the mirror for clients, "https://dmz:8443", which
	// generated client configuration uses. If it is empty, the Host of each
	// request is used.
	PublicURL string
	// CA is the certificate (PEM) that verifies the mirror, served as /ca.crt; nil
	// if clients trust the issuer of the server certificate already.
	CA []byte
	// Passwords are the users that get answers; nil answers everybody.
	Passwords *Passwords
	// ScrubRate bounds the background hashing in bytes per second; 0 means 100 MiB.
	ScrubRate int64
	// ScrubEvery is the time from the end of one pass to the next; 0 means a day.
	ScrubEvery time.Duration
	// WriteTimeout is how long a client may take for 4 MiB of a body; 0 means a minute.
	WriteTimeout time.Duration
	// Runs are directories with logs of runs of install; the page /now shows the newest
	// run of each.
	Runs []string
	// Log gets one line per request and every bad blob; nil discards. Requests are
	// at the level Info, those that an operator looks for first at Warn.
	Log *slog.Logger
	// AccessLog gets one line per request at the level Info; nil discards.
	AccessLog *slog.Logger
}

// Mirror serves open bundles. It is an http.Handler and safe for concurrent use.
type Mirror struct {
	options  Options
	log      *slog.Logger
	bundles  []*bundle.Bundle
	routes   *routes
	registry *oci.Handler
	sender   *files.Sender
	pages    map[string]page
	pageData *pageData
	listings map[string]*listing
	metrics  *metrics
	watch    *watcher
	urgent   urgent
	scrub    scrubber
}

// New returns a Mirror of open bundles, which must stay open until Close. The
// error lists every reason why they cannot be served together: equal names with
// different content, names that no URL can have, damaged image manifests. Other
// blobs are hashed before they are first sent, or by Verify and Scrub.
func New(bundles []*bundle.Bundle, o Options) (*Mirror, error) {
	if len(bundles) == 0 {
		return nil, errors.New("mirror: no bundle to serve")
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	m := &Mirror{options: o, log: o.Log, bundles: bundles, metrics: new(metrics), sender: files.NewSender(files.Options{WriteTimeout: o.WriteTimeout})}
	wait := startContents(bundles)
	defer func() { _, _ = wait() }() // after an error the caller closes the bundles
	blobs, err := openBlobs(bundles)
	if err != nil {
		return nil, err
	}
	if m.watch, err = newWatcher(bundles, m.log); err != nil {
		return nil, err
	}
	m.scrub.blobs = blobs
	m.urgent.init()
	var images []bundle.ImageEntry
	for _, b := range bundles {
		images = append(images, b.Images()...)
	}
	var routesErr, registryErr error
	m.routes, routesErr = newRoutes(bundles, blobs)
	m.registry, registryErr = oci.New(images, backend{m})
	if err := errors.Join(routesErr, registryErr); err != nil {
		return nil, err
	}
	charts := chartsOf(bundles)
	if err := m.registry.AddCharts(charts); err != nil {
		return nil, err
	}
	if m.pageData, err = newPageData(m, charts, wait); err != nil {
		return nil, err
	}
	m.pages = m.pageData.pages()
	m.listings = newListings(m.routes, m.pages)
	m.pageData.roots = roots(m.listings)
	return m, nil
}

func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.AccessLog == nil {
		o.AccessLog = slog.New(slog.DiscardHandler)
	}
	o.ScrubRate = cmp.Or(o.ScrubRate, 100<<20)
	o.ScrubEvery = cmp.Or(o.ScrubEvery, 24*time.Hour)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, time.Minute)
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	if o.PublicURL == "" {
		return nil
	}
	if err := CheckURL(o.PublicURL); err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	return nil
}

// Close ends the checks that requests began. It must follow the last request; the
// bundles stay open.
func (m *Mirror) Close() { m.urgent.close() }

// ServeHTTP answers a request. Methods other than GET and HEAD get status 405.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &responseWriter{ResponseWriter: w}
	m.metrics.inFlight.Add(1)
	defer m.metrics.inFlight.Add(-1)
	m.metrics.transfers.enter(rec, r.RemoteAddr, r.URL.Path, start)
	defer m.metrics.transfers.leave(rec)
	rec.Header().Set("X-Content-Type-Options", "nosniff")
	// A long body extends the deadline with every piece. Ignore writers without
	// deadlines (tests).
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(start.Add(m.options.WriteTimeout))
	if r.ContentLength != 0 {
		// No request needs its body. net/http would read the rest of it after the
		// answer, so end reading now and close the connection.
		rec.Header().Set("Connection", "close")
		_ = control.SetReadDeadline(start)
	}
	err := m.serve(rec, r)
	m.logRequest(rec, r, time.Since(start), err)
}

func (m *Mirror) serve(w *responseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		oci.Unsupported(w)
		return nil
	}
	if !m.authorized(w, r) {
		return nil
	}
	if status := checkPath(r.URL); status != 0 {
		if strings.Contains(r.URL.Path, "//") {
			http.Error(w, "bad request: two slashes in a row", status)
			return nil
		}
		refuse(w, status)
		return nil
	}
	path := r.URL.Path
	if path == "/v2" || strings.HasPrefix(path, "/v2/") {
		return m.registry.Serve(w, r)
	}
	if c := m.routes.find(path); c != nil {
		return m.send(w, r, c)
	}
	switch path {
	case "/healthz":
		ok(w, r)
		return nil
	case "/readyz":
		return m.ready(w, r)
	}
	if p, ok := m.pages[path]; ok {
		m.servePage(w, r, p)
		return nil
	}
	if !m.serveListing(w, r, path) {
		refuse(w, http.StatusNotFound)
	}
	return nil
}

// send sends c if its blob is good. A client that waits for the check of a large
// blob keeps its connection for that time.
func (m *Mirror) send(w http.ResponseWriter, r *http.Request, c *files.Content) error {
	b := m.routes.blobs[c.Digest]
	if b == nil || c.Verified {
		return m.sender.Serve(w, r, c) // not from the bundle file
	}
	release, err := m.hold(r.Context(), b)
	if err != nil {
		return m.notSent(w, err)
	}
	defer release()
	checked := *c
	for range maxRounds {
		if checked.Unchanged, err = m.admit(r.Context(), b); err != nil {
			return m.notSent(w, err)
		}
		err = m.sender.Serve(w, r, &checked)
		if !errors.Is(err, files.ErrChanged) || errors.Is(err, files.ErrStorage) {
			return err
		}
		// Nothing was sent: check the file as it is now.
	}
	return m.notSent(w, b.failure(errChanging))
}

// notSent answers a request whose blob must not be sent, and returns err.
func (m *Mirror) notSent(w http.ResponseWriter, err error) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(m.options.WriteTimeout))
	switch {
	case errors.Is(err, context.Canceled):
		// Without an answer net/http would send an empty one with status 200, which a
		// client that closed only its own direction would take for the file.
		refuse(w, http.StatusServiceUnavailable)
	case errors.Is(err, reader.ErrUnavailable):
		files.Unavailable(w, err)
	default:
		http.Error(w, "this file is damaged in the bundle; see the mirror's log", http.StatusInternalServerError)
	}
	return err
}

// backend gives the registry its blobs.
type backend struct{ mirror *Mirror }

func (b backend) Blob(d digest.Digest) (*files.Content, error) { return b.mirror.routes.blobContent(d) }

func (b backend) Send(w http.ResponseWriter, r *http.Request, c *files.Content) error {
	return b.mirror.send(w, r, c)
}

// refuse answers with a status and its text.
func refuse(w http.ResponseWriter, status int) {
	http.Error(w, strings.ToLower(http.StatusText(status)), status)
}
