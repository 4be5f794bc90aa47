package oci

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/image"
)

// Docker's media types go out as they came in: a client compares them.
func TestDockerMediaTypes(t *testing.T) {
	m := newMemory(t)
	amd64 := m.json(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: image.MediaTypeDockerManifest,
		Config: m.put([]byte("{}"), "application/vnd.docker.container.image.v1+json"), Layers: []ocispec.Descriptor{},
	}, image.MediaTypeDockerManifest)
	list := m.json(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: image.MediaTypeDockerIndex,
		Manifests: []ocispec.Descriptor{amd64, {MediaType: image.MediaTypeDockerManifest, Digest: leftOut, Size: 1}},
	}, image.MediaTypeDockerIndex)
	h, err := New([]bundle.ImageEntry{named("registry.k8s.io/pause:3.1", list)}, m)
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]ocispec.Descriptor{"3.1": list, list.Digest.String(): list, amd64.Digest.String(): amd64} {
		r, body := request(t, h, http.MethodGet, "/v2/pause/manifests/"+ref+"?ns=registry.k8s.io")
		if r.Header.Get("Content-Type") != want.MediaType || digest.FromString(body) != want.Digest {
			t.Errorf("%s: type %q, digest %s, want %q, %s", ref, r.Header.Get("Content-Type"), digest.FromString(body), want.MediaType, want.Digest)
		}
	}
}
