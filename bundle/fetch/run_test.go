package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

// suiteCase is one kind of artifact at the test upstream.
type suiteCase struct {
	Kind manifests.ArtifactKind
	// Group returns artifacts of one source, as Resolve would.
	Group func(t *testing.T, up *upstreamtest.Upstream) []manifests.Artifact
	// Payload is a part of the URL path of the request that carries the content.
	Payload func(group []manifests.Artifact, up *upstreamtest.Upstream) string
	// Move makes the upstream serve something else under the same name.
	Move func(t *testing.T, up *upstreamtest.Upstream, group []manifests.Artifact)
	// Digests reports whether artifacts are requested by digest rather than by
	// the name that Move changes, as images are.
	Digests bool
}

// runSuite is the test suite of all fetchers. A fetcher resumes, refuses content
// with a wrong digest or size, survives a cut connection, ignores a moved tag,
// and stops with its context.
func runSuite(t *testing.T, c suiteCase) {
	for name, f := range map[string]func(*testing.T, *run){
		"fetches once":                 fetchesOnce,
		"resumes":                      resumes,
		"wrong digest":                 wrongDigest,
		"longer than it should be":     wrongSize,
		"shorter than it should be":    shorter,
		"connection cut each time":     cutAlways,
		"moved tag":                    movedTag,
		"cancelled context":            cancelled,
		"range answered from 0":        rangeFromZero,
		"range of other content":       rangeOfOther,
		"server error, then it works":  serverError,
		"lock says something else":     otherLock,
		"complete part file":           completePart,
		"HEAD is refused":              headRefused,
		"damaged part file starts new": damagedPart,
	} {
		t.Run(name, func(t *testing.T) { f(t, newRun(t, c)) })
	}
}

// run is one test: an upstream, an empty store, and the artifacts.
type run struct {
	suiteCase
	t       *testing.T
	up      *upstreamtest.Upstream
	env     fetch.Env
	group   []manifests.Artifact
	payload string
	sleeps  atomic.Int64
}

func newRun(t *testing.T, c suiteCase) *run {
	t.Helper()
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{suiteCase: c, t: t, up: up}
	r.env = newEnv(t, up, &r.sleeps)
	r.group = c.Group(t, up)
	r.payload = c.Payload(r.group, up)
	return r
}

// newEnv returns an environment of fetchers for up with an empty store. Waits
// between attempts are counted and skipped.
func newEnv(t testing.TB, up *upstreamtest.Upstream, sleeps *atomic.Int64) fetch.Env {
	t.Helper()
	client, err := fetch.NewClient(fetch.Options{
		Rewrites: up.Rewrites(), Attempts: 3,
		Sleep: func(ctx context.Context, _ time.Duration) error {
			sleeps.Add(1)
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return fetch.Env{
		Client: client, Store: s, Arches: []string{"amd64"}, Encoding: "test",
		Compress: func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		},
		Keyring: func(*manifests.Artifact) (*trust.Keyring, error) { return trust.ReadKeyring(up.PublicKey()) },
	}
}

// fetch runs the fetcher of the case for the group.
func (r *run) fetch(ctx context.Context) error {
	for _, f := range fetch.Fetchers(r.env) {
		if f.Kind() != r.Kind {
			continue
		}
		var group []*manifests.Artifact
		for i := range r.group {
			group = append(group, &r.group[i])
		}
		return f.Fetch(ctx, group, fetch.Silent().Start("", 0))
	}
	r.t.Fatalf("no fetcher for %q", r.Kind)
	return nil
}

func (r *run) isPayload(q *http.Request) bool {
	return q.Method == http.MethodGet && strings.Contains(q.URL.Path, r.payload)
}

// onPayload lets f answer the n-th request for the content, counted from 0.
func (r *run) onPayload(f func(n int64, w http.ResponseWriter, q *http.Request) bool) *atomic.Int64 {
	var n atomic.Int64
	r.up.Hook(func(w http.ResponseWriter, q *http.Request) bool {
		return r.isPayload(q) && f(n.Add(1)-1, w, q)
	})
	return &n
}

// mustBeComplete checks that everything is in the store under the right digest.
func (r *run) mustBeComplete() {
	r.t.Helper()
	for _, a := range r.group {
		f, err := r.env.Store.Open(a.Blob)
		if err != nil {
			r.t.Fatalf("%s: %v", a.Name, err)
		}
		v := a.Blob.Digest.Verifier()
		_, err = io.Copy(v, f)
		if err := errors.Join(err, f.Close()); err != nil || !v.Verified() {
			r.t.Errorf("%s: content is not %s (%v)", a.Name, a.Blob.Digest, err)
		}
	}
	r.noParts()
}

// mustBeEmpty checks that a later run cannot trust wrong content.
func (r *run) mustBeEmpty() {
	r.t.Helper()
	for _, a := range r.group {
		if !a.Blob.IsZero() {
			r.t.Errorf("%s: filled in as %s", a.Name, a.Blob.Digest)
		}
	}
	r.noParts()
}

func (r *run) noParts() {
	r.t.Helper()
	if parts, _ := filepath.Glob(filepath.Join(r.env.Store.Dir(), "partial", "*")); len(parts) > 0 {
		r.t.Errorf("part files are left: %v", parts)
	}
}

// answer returns the upstream's answer to q.
func (r *run) answer(q *http.Request) *recorder {
	rec := &recorder{header: http.Header{}, code: http.StatusOK}
	r.up.Serve(rec, q)
	return rec
}

// recorder records an answer, to be changed before it is sent.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// send sends the answer with another body and without Content-Length.
func (r *recorder) send(w http.ResponseWriter, body []byte) {
	for k, v := range r.header {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(r.code)
	_, _ = w.Write(body)
}

// cut sends the headers of the whole answer and only half of its body.
func (r *recorder) cut(w http.ResponseWriter) {
	for k, v := range r.header {
		w.Header()[k] = v
	}
	w.WriteHeader(r.code)
	_, _ = w.Write(r.body.Bytes()[:r.body.Len()/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

func flip(b []byte) []byte {
	out := bytes.Clone(b)
	out[len(out)/2] ^= 1
	return out
}

// partFile returns the path of the only unfinished download.
func (r *run) partFile() string {
	r.t.Helper()
	parts, err := filepath.Glob(filepath.Join(r.env.Store.Dir(), "partial", "*"))
	if err != nil || len(parts) != 1 {
		r.t.Fatalf("part files %v (%v), want one", parts, err)
	}
	return parts[0]
}

func writePart(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
