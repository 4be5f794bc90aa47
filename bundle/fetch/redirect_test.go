package fetch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

// signedStorage hands content out under addresses that are each good for one
// request of one method, and cuts the first answer.
type signedStorage struct {
	content string
	mu      sync.Mutex
	tickets map[string]string // to method
	issued  int
	cut     bool
}

func (s *signedStorage) redirect(storage string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.issued++
		ticket := fmt.Sprint(s.issued)
		s.tickets[ticket] = r.Method
		http.Redirect(w, r, storage+"/?ticket="+ticket, http.StatusFound)
	}
}

func (s *signedStorage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ticket := r.URL.Query().Get("ticket")
	if s.tickets[ticket] != r.Method {
		http.Error(w, "signature does not match", http.StatusForbidden)
		return
	}
	delete(s.tickets, ticket)
	if r.Method == http.MethodGet && !s.cut {
		s.cut = true
		w.Header().Set("Content-Length", fmt.Sprint(len(s.content)))
		_, _ = w.Write([]byte(s.content[:len(s.content)/2]))
		return // net/http closes the connection
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(s.content))
}

// GitHub's downloads and the blobs of many registries are redirected to
// addresses that are signed for one method and expire.
func TestResumeGetsItsOwnSignedAddress(t *testing.T) {
	for name, size := range map[string]int64{"size known": 200_000, "size unknown": 0} {
		t.Run(name, func(t *testing.T) {
			s := &signedStorage{content: strings.Repeat("offk8s ", 200_000/7+1)[:200_000], tickets: map[string]string{}}
			entrance := serve(t, s.redirect(serve(t, s.ServeHTTP)))
			up, err := upstreamtest.Start(t)
			if err != nil {
				t.Fatal(err)
			}
			var sleeps atomic.Int64
			env := newEnv(t, up, &sleeps)
			env.Client = newClient(t, fetch.Options{Attempts: 3, AllowPrivate: true})
			a := &manifests.Artifact{
				Kind: manifests.KindFile, Name: "runc", Path: "runc",
				Source: manifests.Source{URL: entrance + "/runc.amd64", Digest: digest.FromString(s.content), Size: size, Trust: manifests.TrustCatalog},
			}
			for _, f := range fetch.Fetchers(env) {
				if f.Kind() != manifests.KindFile {
					continue
				}
				if err := f.Fetch(context.Background(), []*manifests.Artifact{a}, fetch.Silent().Start("", 0)); err != nil {
					t.Fatal(err)
				}
			}
			if a.Plain.Digest != a.Source.Digest {
				t.Errorf("stored %s, want %s", a.Plain.Digest, a.Source.Digest)
			}
			// One address for each GET; HEAD is never asked for.
			if s.issued != 2 {
				t.Errorf("%d requests, want 2", s.issued)
			}
		})
	}
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// One registry redirects to another that gives tokens to everybody: that token
// is no credential of the first one.
func TestAnonymousTokenOfRedirectedRegistry(t *testing.T) {
	f := &fakeRegistry{docs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}}
	layer := f.add(ocispec.MediaTypeImageLayerGzip, []byte("layer"))
	root := f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config(f, "amd64"), "layers": []any{layer}})
	var second string
	second = serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "for-everybody"})
		case r.Header.Get("Authorization") != "Bearer for-everybody":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="second",scope="repository:made/up:pull"`, second))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			f.ServeHTTP(w, r)
		}
	})
	// The first one demands a token of its own, which must stay with it.
	var first string
	var handler http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "first"})
		case r.Header.Get("Authorization") != "Bearer first":
			first = "http://" + r.Host
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="first"`, first))
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v2/":
			_, _ = w.Write([]byte("{}"))
		default:
			http.Redirect(w, r, second+r.URL.Path, http.StatusTemporaryRedirect)
		}
	}
	if err := pull(t, handler, root.Digest, anonymous{}); err != nil {
		t.Fatal(err)
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A mirror host without a dot is a host, not a namespace of Docker Hub.
func TestImageMirrorWithoutADot(t *testing.T) {
	for _, to := range []string{"nexus/k8s/", "https://nexus/k8s", "http://nexus/k8s"} {
		var asked []*url.URL
		c := newClient(t, fetch.Options{
			Attempts: 1, Keychain: anonymous{},
			Rewrites: []manifests.Rewrite{{From: "registry.k8s.io", To: to}},
			Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.URL)
				return nil, errors.New("no network")
			}),
		})
		ref, err := fetch.ParseImage("registry.k8s.io/pause:3.1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ResolveImage(context.Background(), ref); err == nil {
			t.Fatal("no error without a network")
		}
		if len(asked) == 0 {
			t.Fatalf("%s: nothing was asked", to)
		}
		for _, u := range asked {
			if u.Host != "nexus" {
				t.Errorf("%s: asked %s", to, u)
			}
		}
	}
}
