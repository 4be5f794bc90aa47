package mirror

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/mirror/files"
	"github.com/offk8s/offk8s/mirror/oci"
)

// Options of a Mirror; the zero value has usable defaults.
type Options struct {
	// PublicURL is how clients reach the mirror, "https://dmz:8443"; it goes into
	// generated client configuration. Empty means what each request says.
	PublicURL string
	// CA is the certificate (PEM) that clients verify the mirror with, served as
	// /ca.crt; nil when the certificate comes from a CA that clients know.
	CA []byte
	// ScrubRate bounds the background hashing in bytes per second; 0 means 100 MiB.
	ScrubRate int64
	// ScrubEvery is the time from the end of one pass to the next; 0 means a day.
	ScrubEvery time.Duration
	// WriteTimeout is how long a client may take for 4 MiB of a body; 0 means a minute.
	WriteTimeout time.Duration
	// Log gets one line per request and every bad blob; nil discards.
	Log *slog.Logger
}

// Mirror answers requests from open bundles. It is an http.Handler and safe for
// concurrent use.
type Mirror struct {
	options  Options
	log      *slog.Logger
	bundles  []*bundle.Bundle
	routes   *routes
	registry *oci.Handler
	sender   *files.Sender
	pages    map[string]page
	pageData *pageData
	metrics  metrics
	scrub    scrubber
	strict   atomic.Bool // blobs are hashed before they are sent, see scrubber
}

// New returns a Mirror of open bundles, which must stay open until Close. The
// error lists every reason why they cannot be served together: equal names with
// different content, names that no URL can have, damaged image manifests. Other
// blobs are not hashed; see Verify and Scrub.
func New(bundles []*bundle.Bundle, o Options) (*Mirror, error) {
	if len(bundles) == 0 {
		return nil, errors.New("mirror: no bundle to serve")
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	m := &Mirror{options: o, log: o.Log, bundles: bundles, sender: files.NewSender(files.Options{WriteTimeout: o.WriteTimeout})}
	blobs, err := openBlobs(bundles)
	if err != nil {
		return nil, err
	}
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
	m.scrub.init(bundles, blobs)
	m.pageData = newPageData(m)
	m.pages = m.pageData.pages()
	return m, nil
}

func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ScrubRate == 0 {
		o.ScrubRate = 100 << 20
	}
	if o.ScrubEvery == 0 {
		o.ScrubEvery = 24 * time.Hour
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = time.Minute
	}
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	if o.PublicURL != "" && !validBase(o.PublicURL) {
		return fmt.Errorf("mirror: public URL %q: want http(s)://host[:port]", o.PublicURL)
	}
	return nil
}

// Close closes the files that requests opened. It must follow the last request;
// the bundles stay open.
func (m *Mirror) Close() error { return m.sender.Close() }

// ServeHTTP answers one request. Only GET and HEAD do anything.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &responseWriter{ResponseWriter: w}
	m.metrics.inFlight.Add(1)
	defer m.metrics.inFlight.Add(-1)
	rec.Header().Set("X-Content-Type-Options", "nosniff")
	// For what is sent whole; long bodies set a new one with every piece. A
	// writer without deadlines (tests) is let be.
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(start.Add(m.options.WriteTimeout))
	if r.ContentLength != 0 {
		// Request bodies mean nothing here. net/http would wait for the rest of
		// one after the answer, so reading ends now, and the connection with it.
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
	if status := checkPath(r.URL); status != 0 {
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
	if p, ok := m.pages[path]; ok {
		m.servePage(w, r, p)
		return nil
	}
	refuse(w, http.StatusNotFound)
	return nil
}

// send answers with a content unless its blob is known to be bad.
func (m *Mirror) send(w http.ResponseWriter, r *http.Request, c *files.Content) error {
	if b := m.routes.blobs[c.Digest]; b != nil {
		if err := m.admit(r.Context(), b); err != nil {
			http.Error(w, "this file is damaged in the bundle; see the mirror's log", http.StatusInternalServerError)
			return err
		}
	}
	return m.sender.Serve(w, r, c)
}

// backend gives the registry its blobs.
type backend struct{ mirror *Mirror }

func (b backend) Blob(d digest.Digest) (*files.Content, error) { return b.mirror.routes.blobContent(d) }

func (b backend) Send(w http.ResponseWriter, r *http.Request, c *files.Content) error {
	return b.mirror.send(w, r, c)
}

// refuse answers with the plain text of a status.
func refuse(w http.ResponseWriter, status int) {
	http.Error(w, strings.ToLower(http.StatusText(status)), status)
}
