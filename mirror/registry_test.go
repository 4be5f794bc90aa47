package mirror

import (
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	fake "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/registry"
)

// pushed is a bundle in a registry that can be away, or alter a blob.
type pushed struct {
	address string
	options registry.Options
	away    atomic.Bool
	altered atomic.Value // string: the digest of a blob that gets other bytes
}

func pushBundle(t *testing.T, b *bundle.Bundle) *pushed {
	t.Helper()
	p := &pushed{options: registry.Options{Keychain: authn.NewMultiKeychain()}}
	p.altered.Store("none")
	next := fake.New(fake.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

func largestOf(b *bundle.Bundle) (size int64, of digest.Digest) {
	for _, d := range b.Blobs() {
		if desc, _ := b.Descriptor(d); desc.Size > size {
			size, of = desc.Size, d
		}
	}
	return size, of
}
