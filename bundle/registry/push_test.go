package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	fake "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/registry"
)

// server is a registry in memory whose requests can be seen and answered by others.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // "PUT /v2/…"
	// instead answers a request and reports true, if it is set.
	instead func(http.ResponseWriter, *http.Request) bool
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	next := fake.New(fake.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
		instead := s.instead
		s.mu.Unlock()
		if instead == nil || !instead(w, r) {
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) answer(instead func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

// seen returns the requests that begin with one of the prefixes, and forgets all.
func (s *server) seen(prefixes ...string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		for _, p := range prefixes {
			if strings.HasPrefix(r, p) {
				out = append(out, r)
			}
		}
	}
	s.requests = nil
	return out
}

func (s *server) address() string { return strings.TrimPrefix(s.URL, "http://") + "/site/offk8s" }

var anonymous = registry.Options{Keychain: authn.NewMultiKeychain()}

func push(t *testing.T, b *bundle.Bundle, address string) (*registry.Pushed, error) {
	t.Helper()
	return registry.Push(t.Context(), b, address, registry.PushOptions{Options: anonymous})
}

func TestPushAndOpen(t *testing.T) {
	s := newServer(t)
	path, key := bundletest.Small(t)
	b, err := bundle.Open(t.Context(), []string{path}, bundletest.Options(key))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var last, total int64
	p, err := registry.Push(t.Context(), b, s.address(), registry.PushOptions{Options: anonymous, Progress: func(d, n int64) { last, total = d, n }})
	if err != nil {
		t.Fatal(err)
	}
	if p.Root != b.Root() || p.SentBytes < p.Bytes || last != total || total != p.Bytes || len(p.Images) != 2 {
		t.Errorf("pushed %+v, progress %d of %d", p, last, total)
	}
	s.seen()

	// The second time nothing is sent.
	again, err := push(t, b, s.address())
	if err != nil || again.Sent != 0 {
		t.Errorf("second push: %+v, error %v", again, err)
	}
	// Only the index that this registry refuses is offered again.
	for _, r := range s.seen("PATCH", "POST", "PUT") {
		if !strings.HasPrefix(r, "PUT /v2/site/offk8s/registry.k8s.io/pause/manifests/") {
			t.Errorf("second push: %s", r)
		}
	}

	// Every byte of the tarball comes back.
	cache, err := registry.NewCache(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	tarball, err := registry.Open(t.Context(), registry.Scheme+s.address(), cache, anonymous)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(tarball, 0, tarball.Size))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want those of the tarball, %d; error %v", len(got), len(want), err)
	}
	opened, err := bundle.OpenReader(t.Context(), tarball, tarball.Size, bundletest.Options(key))
	if err != nil || opened.Root() != b.Root() {
		t.Fatalf("open: %v", err)
	}
	if err := opened.Verify(t.Context(), bundle.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := registry.Open(t.Context(), registry.Scheme+s.address()+"@"+b.Root().String(), cache, anonymous); err != nil {
		t.Errorf("by root: %v", err)
	}
}

// Images have their names and digests; an index that the registry refuses has the
// platforms of the bundle.
func TestPushedImages(t *testing.T) {
	s := newServer(t)
	b := bundletest.Open(t)
	p, err := push(t, b, s.address())
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range b.Images() {
		ref, err := name.ParseReference(s.address() + "/" + e.Name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Get(ref)
		if err != nil {
			t.Fatal(err)
		}
		sparse := e.Name == bundletest.PauseImage
		if p.Images[i].Reduced != sparse || got.Digest.String() != p.Images[i].Digest.String() || !sparse && got.Digest.String() != e.Descriptor.Digest.String() {
			t.Errorf("%s: digest %s, %+v", e.Name, got.Digest, p.Images[i])
		}
		if !sparse {
			continue
		}
		index, err := got.ImageIndex()
		if err != nil {
			t.Fatal(err)
		}
		m, err := index.IndexManifest()
		if err != nil || len(m.Manifests) != 2 || m.Manifests[0].Platform.Architecture != "amd64" {
			t.Errorf("%+v, error %v", m, err)
		}
	}
	// Blobs of images are mounted from the bundle, so that they are sent once.
	if sent := s.seen("PATCH /v2/site/offk8s/registry.k8s.io"); len(sent) > 0 {
		t.Errorf("sent again: %s", sent)
	}
}

// An interrupted push sets no tag, and the next one sends only the rest.
func TestPushContinues(t *testing.T) {
	s := newServer(t)
	b := bundletest.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	s.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			if n++; n == 4 {
				cancel()
			}
		}
		return false
	})
	one := registry.Options{Keychain: anonymous.Keychain, Jobs: 1}
	if _, err := registry.Push(ctx, b, s.address(), registry.PushOptions{Options: one}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want context.Canceled", err)
	}
	if tags := s.seen("PUT /v2/site/offk8s/bundle/manifests/"); len(tags) > 0 {
		t.Errorf("tags of a part: %s", tags)
	}
	s.answer(nil)
	p, err := push(t, b, s.address())
	if err != nil || p.Sent >= int64(p.Blobs) || p.Sent == 0 {
		t.Errorf("%+v, error %v, want fewer than all blobs", p, err)
	}
}

// A blob that is damaged in the tarball is not pushed.
func TestPushRefusesDamage(t *testing.T) {
	s := newServer(t)
	path, key := bundletest.Small(t)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content = bytes.Replace(content, []byte("no real deb"), []byte("no real dxb"), 1)
	b, err := bundle.OpenReader(t.Context(), bytes.NewReader(content), int64(len(content)), bundletest.Options(key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := push(t, b, s.address()); !errors.Is(err, bundle.ErrVerify) || !errors.Is(err, reader.ErrMismatch) {
		t.Errorf("error %v, want ErrVerify", err)
	}
	if tags := s.seen("PUT /v2/site/offk8s/bundle/manifests/"); len(tags) > 0 {
		t.Errorf("tags: %s", tags)
	}
}

func TestAddresses(t *testing.T) {
	b := bundletest.Open(t)
	for _, address := range []string{"", "harbor.example", "harbor.example/", "/x", "harbor.example/UPPER", "harbor.example/a:b", "harbor.example/a//b", "oci://harbor.example/x@sha256:1"} {
		if _, err := push(t, b, address); !errors.Is(err, registry.ErrAddress) {
			t.Errorf("%q: error %v, want ErrAddress", address, err)
		}
	}
}

// A registry that wants other credentials, or takes nothing, is an error of its class.
func TestPushIsRefused(t *testing.T) {
	for status, want := range map[int]error{
		http.StatusUnauthorized: registry.ErrDenied, http.StatusForbidden: registry.ErrDenied, http.StatusMethodNotAllowed: registry.ErrReadOnly,
	} {
		s := newServer(t)
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet {
				return false
			}
			w.WriteHeader(status)
			return true
		})
		if _, err := push(t, bundletest.Open(t), s.address()); !errors.Is(err, want) {
			t.Errorf("status %d: error %v, want %v", status, err, want)
		}
	}
}
