package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/mirror/files"
)

// v2 is the schema version of every image.
var v2 = specs.Versioned{SchemaVersion: 2}

// memory is a Backend of blobs in memory.
type memory struct {
	t      *testing.T
	blobs  map[digest.Digest][]byte
	sender *files.Sender
}

func newMemory(t *testing.T) *memory {
	return &memory{t, make(map[digest.Digest][]byte), files.NewSender(files.Options{})}
}

func (m *memory) Blob(d digest.Digest) (*files.Content, error) {
	b, ok := m.blobs[d]
	if !ok {
		return nil, fmt.Errorf("no blob %s", d)
	}
	return &files.Content{Name: d.String(), Digest: d, Data: io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))}, nil
}

func (m *memory) Send(w http.ResponseWriter, r *http.Request, c *files.Content) error {
	return m.sender.Serve(w, r, c)
}

func (m *memory) put(body []byte, mediaType string) ocispec.Descriptor {
	d := digest.FromBytes(body)
	m.blobs[d] = body
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(body))}
}

func (m *memory) json(v any, mediaType string) ocispec.Descriptor {
	m.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.put(body, mediaType)
}

func (m *memory) image(content string) ocispec.Descriptor {
	return m.json(ocispec.Manifest{
		Versioned: v2,
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    m.put([]byte(`{"os":"`+content+`"}`), ocispec.MediaTypeImageConfig),
		Layers:    []ocispec.Descriptor{m.put([]byte(content), ocispec.MediaTypeImageLayer)},
	}, ocispec.MediaTypeImageManifest)
}

func named(name string, d ocispec.Descriptor) bundle.ImageEntry {
	return bundle.ImageEntry{Name: name, Descriptor: d}
}

var leftOut = digest.FromString("arm64")

// registry serves images that collide in every way that matters.
func registry(t *testing.T) (h *Handler, pause, index ocispec.Descriptor) {
	t.Helper()
	m := newMemory(t)
	pause = m.image("pause")
	index = m.json(ocispec.Index{
		Versioned: v2,
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{pause, {
			MediaType: ocispec.MediaTypeImageManifest, Digest: leftOut, Size: 1,
			Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
		}},
	}, ocispec.MediaTypeImageIndex)
	signature := m.json(ocispec.Manifest{
		Versioned: v2,
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.example.signature",
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{}, Subject: &index,
	}, ocispec.MediaTypeImageManifest)
	images := []bundle.ImageEntry{
		named("registry.k8s.io/pause:3.10", index),
		named("registry.k8s.io/pause:sha-sig", signature),
		named("registry.k8s.io/pause:3.9", m.image("pause 3.9")),
		named("registry.k8s.io/coredns/coredns:v1.12.1", m.image("coredns of Kubernetes")),
		named("docker.io/coredns/coredns:v1.12.1", m.image("coredns of Docker Hub")),
		named("docker.io/library/busybox:1.36", m.image("busybox")),
		named("localhost:5000/a/manifests/b:1", m.image("odd name")),
	}
	h, err := New(images, m)
	if err != nil {
		t.Fatal(err)
	}
	return h, pause, index
}

func request(t *testing.T, h *Handler, method, target string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := h.Serve(w, httptest.NewRequest(method, target, nil)); err != nil {
		t.Errorf("%s: %v", target, err)
	}
	r := w.Result()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

func TestRegistry(t *testing.T) {
	h, pause, index := registry(t)
	layer := digest.FromString("pause").String()
	hub := digest.FromString("coredns of Docker Hub").String()
	tests := []struct {
		name, path string
		status     int
		digest     string // Docker-Content-Digest
		want       string // part of the body
	}{
		{"ping", "/v2/", 200, "", "{}"},
		{"ping without slash", "/v2", 200, "", "{}"},
		{"full name", "/v2/registry.k8s.io/pause/manifests/3.10", 200, index.Digest.String(), "arm64"},
		{"ns", "/v2/pause/manifests/3.10?ns=registry.k8s.io", 200, index.Digest.String(), ""},
		{"short", "/v2/pause/manifests/3.10", 200, index.Digest.String(), ""},
		{"full name with ns of the mirror", "/v2/registry.k8s.io/pause/manifests/3.10?ns=mirror:8443", 200, index.Digest.String(), ""},
		{"by digest", "/v2/pause/manifests/" + index.Digest.String(), 200, index.Digest.String(), ""},
		{"platform by digest", "/v2/pause/manifests/" + pause.Digest.String(), 200, pause.Digest.String(), "layers"},
		{"layer", "/v2/pause/blobs/" + layer, 200, layer, "pause"},
		{"library is added", "/v2/busybox/manifests/1.36?ns=docker.io", 200, "", "layers"},
		{"library is added without ns", "/v2/busybox/manifests/1.36", 200, "", ""},
		{"library is added to a full name", "/v2/docker.io/busybox/manifests/1.36", 200, "", ""},
		{"library written out", "/v2/library/busybox/manifests/1.36", 200, "", ""},
		{"other names of Docker Hub", "/v2/library/busybox/manifests/1.36?ns=registry-1.docker.io", 200, "", ""},
		{"name with the word manifests", "/v2/localhost:5000/a/manifests/b/manifests/1", 200, "", ""},
		{"ns tells equal names apart", "/v2/coredns/coredns/manifests/v1.12.1?ns=docker.io", 200, "", hub},
		{"ambiguous", "/v2/coredns/coredns/manifests/v1.12.1", 400, "", "docker.io/coredns/coredns or registry.k8s.io/coredns/coredns"},
		{"a digest is never ambiguous", "/v2/coredns/coredns/blobs/" + hub, 200, hub, "coredns of Docker Hub"},
		{"the registry that was named is not replaced", "/v2/pause/manifests/3.10?ns=docker.io", 404, "", "NAME_UNKNOWN"},
		{"the host that was named is not replaced", "/v2/quay.io/pause/manifests/3.10", 404, "", "NAME_UNKNOWN"},
		{"platform left out", "/v2/pause/manifests/" + leftOut.String(), 404, "", "linux/arm64/v8, a platform that was left out of the bundle"},
		{"unknown tag", "/v2/pause/manifests/9", 404, "", "MANIFEST_UNKNOWN"},
		{"unknown digest", "/v2/pause/manifests/" + digest.FromString("x").String(), 404, "", "MANIFEST_UNKNOWN"},
		{"unknown name", "/v2/nothing/manifests/1", 404, "", "NAME_UNKNOWN"},
		{"unknown blob", "/v2/pause/blobs/" + digest.FromString("x").String(), 404, "", "BLOB_UNKNOWN"},
		{"blob of another image", "/v2/busybox/blobs/" + layer, 404, "", "BLOB_UNKNOWN"},
		{"invalid digest", "/v2/pause/blobs/sha256:12", 400, "", "DIGEST_INVALID"},
		{"unknown algorithm", "/v2/pause/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", 400, "", "DIGEST_INVALID"},
		{"invalid name", "/v2/Pause/manifests/1", 400, "", "NAME_INVALID"},
		{"invalid ns", "/v2/pause/manifests/3.10?ns=a/b", 400, "", "NAME_INVALID"},
		{"invalid query", "/v2/pause/manifests/3.10?ns=%zz", 400, "", ""},
		{"no endpoint", "/v2/pause", 404, "", "no such endpoint"},
		{"tags of nothing", "/v2/pause/tags/other", 404, "", "no such endpoint"},
		{"tags", "/v2/registry.k8s.io/pause/tags/list", 200, "", `{"name":"registry.k8s.io/pause","tags":["3.10","3.9","sha-sig"]}`},
		{"tags, n", "/v2/pause/tags/list?n=1", 200, "", `"tags":["3.10"]`},
		{"tags, last", "/v2/pause/tags/list?n=5&last=3.10", 200, "", `"tags":["3.9","sha-sig"]`},
		{"tags, none", "/v2/pause/tags/list?n=0", 200, "", `"tags":[]`},
		{"tags, behind the end", "/v2/pause/tags/list?last=zzz", 200, "", `"tags":[]`},
		{"tags, huge n", "/v2/pause/tags/list?n=1000000000", 200, "", `"tags":["3.10","3.9","sha-sig"]`},
		{"tags, negative n", "/v2/pause/tags/list?n=-1", 400, "", "PAGINATION_NUMBER_INVALID"},
		{"catalog", "/v2/_catalog", 200, "", `["docker.io/coredns/coredns","docker.io/library/busybox","localhost:5000/a/manifests/b","registry.k8s.io/coredns/coredns","registry.k8s.io/pause"]`},
		{"catalog page", "/v2/_catalog?n=1&last=docker.io/library/busybox", 200, "", `["localhost:5000/a/manifests/b"]`},
		{"referrers", "/v2/pause/referrers/" + index.Digest.String(), 200, "", "application/vnd.example.signature"},
		{"no referrers", "/v2/pause/referrers/" + pause.Digest.String(), 200, "", `"manifests":[]`},
		{"referrers of an unknown digest", "/v2/pause/referrers/" + leftOut.String(), 200, "", `"manifests":[]`},
		{"referrers of no digest", "/v2/pause/referrers/3.10", 400, "", "DIGEST_INVALID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, body := request(t, h, http.MethodGet, tt.path)
			if r.StatusCode != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("status %d, want %d; body %s, want %s", r.StatusCode, tt.status, body, tt.want)
			}
			if got := r.Header.Get("Docker-Content-Digest"); tt.digest != "" && got != tt.digest {
				t.Errorf("Docker-Content-Digest %q, want %q", got, tt.digest)
			}
			if r.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
				t.Error("no Docker-Distribution-Api-Version")
			}
			if tt.status >= 400 {
				var e struct {
					Errors []struct{ Code, Message string }
				}
				if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Message == "" {
					t.Errorf("not an error of the specification: %s", body)
				}
			}
			head, empty := request(t, h, http.MethodHead, tt.path)
			if head.StatusCode != tt.status || empty != "" {
				t.Errorf("HEAD: status %d with %q, want %d", head.StatusCode, empty, tt.status)
			}
			for _, name := range []string{"Content-Length", "Content-Type", "Docker-Content-Digest"} {
				if head.Header.Get(name) != r.Header.Get(name) {
					t.Errorf("HEAD: %s %q, GET has %q", name, head.Header.Get(name), r.Header.Get(name))
				}
			}
		})
	}
}

func TestManifestHeaders(t *testing.T) {
	h, pause, index := registry(t)
	r, body := request(t, h, http.MethodGet, "/v2/pause/manifests/3.10")
	if r.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex || digest.FromString(body) != index.Digest {
		t.Errorf("type %q, digest %s, want %s", r.Header.Get("Content-Type"), digest.FromString(body), index.Digest)
	}
	r, _ = request(t, h, http.MethodGet, "/v2/pause/manifests/"+pause.Digest.String())
	if r.Header.Get("Content-Type") != ocispec.MediaTypeImageManifest {
		t.Errorf("platform manifest has type %q", r.Header.Get("Content-Type"))
	}
}

func TestPagesLinkToTheNext(t *testing.T) {
	h, _, _ := registry(t)
	var got []string
	for path, pages := "/v2/pause/tags/list?n=1&ns=registry.k8s.io", 0; path != ""; pages++ {
		if pages > 5 {
			t.Fatal("the pages do not end")
		}
		r, body := request(t, h, http.MethodGet, path)
		var list struct{ Tags []string }
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		got = append(got, list.Tags...)
		link := r.Header.Get("Link")
		path, _ = strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	}
	if diff := cmp.Diff([]string{"3.10", "3.9", "sha-sig"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPagesAreCapped(t *testing.T) {
	all := make([]string, 2500)
	for i := range all {
		all[i] = fmt.Sprintf("v%04d", i)
	}
	for _, n := range []string{"", "1000000000", "1001"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/v2/_catalog?n="+n, nil)
		page, err := paginate(w, r, all, r.URL.Query())
		if err != nil || len(page) != maxPage || w.Header().Get("Link") == "" {
			t.Errorf("n=%q: %d entries, link %q, %v", n, len(page), w.Header().Get("Link"), err)
		}
	}
}

func TestReferrersFilter(t *testing.T) {
	h, _, index := registry(t)
	for filter, want := range map[string]int{"application/vnd.example.signature": 1, "application/vnd.example.sbom": 0} {
		r, body := request(t, h, http.MethodGet, "/v2/pause/referrers/"+index.Digest.String()+"?artifactType="+filter)
		var list ocispec.Index
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Manifests) != want || r.Header.Get("Oci-Filters-Applied") != "artifactType" || r.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex {
			t.Errorf("%s: %d referrers, want %d; headers %v", filter, len(list.Manifests), want, r.Header)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	m := newMemory(t)
	good := m.image("good")
	other := m.image("other")
	lying := m.put([]byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`"}`), ocispec.MediaTypeImageManifest)
	m.blobs[lying.Digest] = []byte("{}")
	deep := good
	for range image.MaxDepth {
		deep = m.json(ocispec.Index{Versioned: v2, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{deep}}, ocispec.MediaTypeImageIndex)
	}
	tests := []struct {
		name   string
		images []bundle.ImageEntry
		want   string
	}{
		{"two images of one name", []bundle.ImageEntry{named("a.io/x:1", good), named("a.io/x:1", other)}, "two bundles"},
		{"altered manifest", []bundle.ImageEntry{named("a.io/x:1", lying)}, "content has digest"},
		{"missing manifest", []bundle.ImageEntry{named("a.io/x:1", ocispec.Descriptor{Digest: leftOut})}, "no blob"},
		{"not a manifest", []bundle.ImageEntry{named("a.io/x:1", m.put([]byte("{}"), "text/plain"))}, "media type"},
		{"not JSON", []bundle.ImageEntry{named("a.io/x:1", m.put([]byte("x"), ocispec.MediaTypeImageManifest))}, "invalid character"},
		{"too deep", []bundle.ImageEntry{named("a.io/x:1", deep)}, "nested deeper"},
		{"bad tag", []bundle.ImageEntry{named("a.io/x:-", good)}, "tag"},
		{"bad name", []bundle.ImageEntry{named("a.io/../x:1", good)}, "repository"},
		{"bad digest", []bundle.ImageEntry{named("a.io/x@sha256:1", good)}, "digest"},
		{"huge", []bundle.ImageEntry{named("a.io/x:1", m.put(make([]byte, image.MaxSize+1), ocispec.MediaTypeImageManifest))}, "allowed"},
	}
	for _, tt := range tests {
		if _, err := New(tt.images, m); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	_, err := New([]bundle.ImageEntry{named("a.io/x:-", good), named("a.io/y:1", lying)}, m)
	if err == nil || !strings.Contains(err.Error(), "x:-") || !strings.Contains(err.Error(), "y:1") {
		t.Errorf("not all errors are named: %v", err)
	}
}

func TestParseReference(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	tests := []struct{ name, repository, tag, digest string }{
		{"registry.k8s.io/pause:3.10", "registry.k8s.io/pause", "3.10", ""},
		{"busybox", "docker.io/library/busybox", "", ""},
		{"coredns/coredns:1", "docker.io/coredns/coredns", "1", ""},
		{"docker.io/busybox:1", "docker.io/library/busybox", "1", ""},
		{"localhost:5000/a/b", "localhost:5000/a/b", "", ""},
		{"ghcr.io/flannel-io/flannel:v1@" + sum, "ghcr.io/flannel-io/flannel", "v1", sum},
		{"a.io/x@" + sum, "a.io/x", "", sum},
	}
	for _, tt := range tests {
		got, err := parseReference(tt.name)
		if err != nil || got.repository() != tt.repository || got.tag != tt.tag || got.digest.String() != tt.digest {
			t.Errorf("%q: %+v, %v", tt.name, got, err)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, seed := range []string{"registry.k8s.io/pause:3.10", "a/b@sha256:x", "::", "/", "a:b/c", "A.b/c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r, err := parseReference(name)
		if err != nil {
			return
		}
		again, err := parseReference(r.repository())
		if err != nil || again.repository() != r.repository() {
			t.Fatalf("%q: %q is not stable: %+v, %v", name, r.repository(), again, err)
		}
		if !validName(r.repository()) || !validName(r.path) {
			t.Fatalf("%q: parts are no valid names in a URL", name)
		}
	})
}

// An error of the backend is the mirror's, not the client's: it goes to the log.
func TestServeReturnsErrorsOfTheBackend(t *testing.T) {
	h, _, _ := registry(t)
	want := errors.New("stick was pulled")
	h.backend = failing{h.backend, want}
	w := httptest.NewRecorder()
	if err := h.Serve(w, httptest.NewRequest(http.MethodGet, "/v2/pause/manifests/3.10", nil)); !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

type failing struct {
	Backend
	err error
}

func (f failing) Send(http.ResponseWriter, *http.Request, *files.Content) error { return f.err }
