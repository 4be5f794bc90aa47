package mirror

import (
	"bytes"
	"context"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	fake "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/registry"
)

// pushed is a bundle in a registry that can be away, or alter a blob.
type pushed struct {
	address string
	options registry.Options
	away    atomic.Bool
	altered atomic.Value // string: the digest of a blob that gets other bytes
	fetched sync.Map     // *atomic.Int64: how often each path was asked for
}

// count returns how often the blob with this digest came from the registry.
func (p *pushed) count(d digest.Digest) int64 {
	n, ok := p.fetched.Load("/v2/offk8s/bundle/blobs/" + d.String())
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

func pushBundle(t *testing.T, b *bundle.Bundle) *pushed {
	t.Helper()
	p := &pushed{options: registry.Options{Keychain: authn.NewMultiKeychain()}}
	p.altered.Store("none")
	next := fake.New(fake.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			n, _ := p.fetched.LoadOrStore(r.URL.Path, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
		switch {
		case p.away.Load():
			panic(http.ErrAbortHandler)
		case strings.HasSuffix(r.URL.Path, p.altered.Load().(string)):
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			_, _ = w.Write(flip(rec.Body.Bytes()))
		default:
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	p.address = strings.TrimPrefix(srv.URL, "http://") + "/offk8s"
	if _, err := registry.Push(t.Context(), b, p.address, registry.PushOptions{Options: p.options}); err != nil {
		t.Fatal(err)
	}
	return p
}

// replica serves the bundle of the registry with a cache of this many bytes.
func (p *pushed) replica(t *testing.T, cacheSize int64) *Mirror {
	t.Helper()
	cache, err := registry.NewCache(t.TempDir(), cacheSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	tarball, err := registry.Open(t.Context(), registry.Scheme+p.address, cache, p.options)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.OpenReader(t.Context(), tarball, tarball.Size, bundletest.Options(bundletest.Key(t)))
	if err != nil {
		t.Fatal(err)
	}
	return mirrorOf(t, Options{PublicURL: "https://dmz:8443"}, b)
}

// answer is what a client sees.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

func answerOf(t *testing.T, m *Mirror, method, path string, header ...string) answer {
	t.Helper()
	r := get(m, method, path, header...)
	return answer{r.StatusCode, r.Header, body(t, r)}
}

// Mirrors on a registry answer every request as one on the tarball, also if the cache
// holds no more than the largest blob.
func TestServeFromRegistry(t *testing.T) {
	b := bundletest.Open(t)
	tar := mirrorOf(t, Options{PublicURL: "https://dmz:8443"}, b)
	p := pushBundle(t, b)
	paths := slices.Collect(maps.Keys(tar.routes.paths))
	for _, d := range b.Blobs() {
		paths = append(paths, "/bundle/blobs/sha256/"+d.Encoded(), "/v2/registry.k8s.io/pause/blobs/"+d.String())
	}
	paths = append(paths, "/v2/registry.k8s.io/pause/manifests/3.10", "/v2/registry.k8s.io/coredns/manifests/v1.0", "/v2/_catalog", "/files/nothing")
	paths = slices.AppendSeq(paths, maps.Keys(tar.pages))
	paths = slices.AppendSeq(paths, maps.Keys(tar.listings))
	size, _ := largestOf(b)
	for name, m := range map[string]*Mirror{"one": p.replica(t, 1<<30), "two": p.replica(t, size)} {
		for _, path := range paths {
			for _, header := range [][]string{nil, {"Range", "bytes=2-5"}, {"Accept-Encoding", "zstd"}, {"Range", "bytes=-1"}} {
				for _, method := range []string{"GET", "HEAD"} {
					if diff := cmp.Diff(answerOf(t, tar, method, path, header...), answerOf(t, m, method, path, header...)); diff != "" {
						t.Errorf("%s: %s %s %v: -tarball +registry:\n%s", name, method, path, header, diff)
					}
				}
			}
		}
	}
}

// A registry that is away is status 503 for what is not in the cache, and 200 afterwards.
func TestRegistryIsAway(t *testing.T) {
	b := bundletest.Open(t)
	p := pushBundle(t, b)
	m := p.replica(t, 1<<30)
	file, plain := "/files/"+bundletest.KubeletPath, "/files/"+bundletest.PlainPath
	if got := answerOf(t, m, "GET", file); got.Status != http.StatusOK {
		t.Fatalf("%+v", got)
	}
	p.away.Store(true)
	if got := answerOf(t, m, "GET", file); got.Status != http.StatusOK {
		t.Errorf("from the cache: %+v", got)
	}
	if got := answerOf(t, m, "GET", plain); got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Body, "registry") {
		t.Errorf("%+v, want status 503", got)
	}
	p.away.Store(false)
	if got := answerOf(t, m, "GET", plain); got.Status != http.StatusOK {
		t.Errorf("afterwards: %+v", got)
	}

	// The good blobs leave the cache: the largest one needs all of it.
	size, largest := largestOf(b)
	small := p.replica(t, size)
	for _, path := range []string{plain, file, "/bundle/blobs/sha256/" + largest.Encoded()} {
		if got := answerOf(t, small, "GET", path); got.Status != http.StatusOK {
			t.Errorf("%s: %+v", path, got)
		}
	}
	p.away.Store(true)
	for _, path := range []string{plain, file} {
		if got := answerOf(t, small, "GET", path); got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Body, "registry") {
			t.Errorf("%+v, want status 503", got)
		}
	}
}

// Other bytes under the name of a blob are never sent.
func TestRegistryAltersBlob(t *testing.T) {
	b := bundletest.Open(t)
	p := pushBundle(t, b)
	m := p.replica(t, 1<<30)
	path := "/files/" + bundletest.PlainPath
	p.altered.Store(m.routes.paths[path].Digest.String())
	for _, header := range [][]string{nil, {"Range", "bytes=0-0"}} {
		if got := answerOf(t, m, "GET", path, header...); got.Status != http.StatusInternalServerError || strings.Contains(got.Body, "cni") {
			t.Errorf("%v: %+v, want status 500", header, got)
		}
	}
}

// A blob comes from the registry once while it is sent, also if all blobs that are sent at
// that time are more than the cache holds, and a bad one is not fetched for each request.
func TestSentBlobsStayInTheCache(t *testing.T) {
	const large, other = 256 << 10, 100 << 10
	builder := bundletest.New(t)
	builder.AddSmall(t)
	for name, size := range map[string]int{"large": large, "one": other, "two": other} {
		builder.AddFile(t, name, name, bytes.Repeat([]byte(name), size)[:size], false)
	}
	b := openBundle(t, builder)
	p := pushBundle(t, b)
	m := p.replica(t, large+other+other/2)
	digestOf := func(name string) digest.Digest { return m.routes.paths["/files/"+name].Digest }
	w := &interrupted{ResponseRecorder: httptest.NewRecorder(), during: func() {
		for _, name := range []string{"one", "two", "one", "two"} {
			if got := answerOf(t, m, "GET", "/files/"+name); got.Status != http.StatusOK || len(got.Body) != other {
				t.Errorf("%s: status %d, %d bytes", name, got.Status, len(got.Body))
			}
		}
	}}
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/files/large", nil))
	if w.Code != http.StatusOK || w.Body.Len() != large {
		t.Errorf("status %d, %d bytes", w.Code, w.Body.Len())
	}
	if n := p.count(digestOf("large")); n != 1 {
		t.Errorf("the blob that was sent meanwhile came %d times, want 1", n)
	}
	if n := p.count(digestOf("two")); n != 2 {
		t.Errorf("a blob that had to leave for another one came %d times, want 2", n)
	}

	p.altered.Store(digestOf("one").String())
	fresh, before := p.replica(t, large+other), p.count(digestOf("one"))
	for range 3 {
		if got := answerOf(t, fresh, "GET", "/files/one"); got.Status != http.StatusInternalServerError {
			t.Errorf("%+v, want status 500", got)
		}
	}
	if n := p.count(digestOf("one")) - before; n != 1 {
		t.Errorf("a bad blob came %d times for 3 requests, want 1", n)
	}
}

// A cache that is full of what is being sent is status 503 with the reason.
func TestFullCache(t *testing.T) {
	builder := bundletest.New(t)
	builder.AddSmall(t)
	tar := fullCache{bytes.NewReader(builder.Bytes(t))}
	b, err := bundle.OpenReader(t.Context(), tar, tar.Size(), bundletest.Options(builder.Key))
	if err != nil {
		t.Fatal(err)
	}
	m := mirrorOf(t, Options{}, b)
	got := answerOf(t, m, "GET", "/files/"+bundletest.PlainPath)
	if got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Body, "cache of this mirror is full") || got.Header.Get("Retry-After") == "" {
		t.Errorf("%+v, want status 503", got)
	}
}

type fullCache struct{ *bytes.Reader }

func (fullCache) Hold(context.Context, int64) (func(), error) { return nil, reader.ErrBusy }

// interrupted calls during before the second piece of an answer.
type interrupted struct {
	*httptest.ResponseRecorder
	during func()
	pieces int
}

func (w *interrupted) Write(b []byte) (int, error) {
	if w.pieces++; w.pieces == 2 {
		w.during()
	}
	return w.ResponseRecorder.Write(b)
}

func largestOf(b *bundle.Bundle) (size int64, of digest.Digest) {
	for _, d := range b.Blobs() {
		if desc, _ := b.Descriptor(d); desc.Size > size {
			size, of = desc.Size, d
		}
	}
	return size, of
}
