package fetch_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Images of the time of Kubernetes 1.16 are Docker's manifest lists: with
// Windows, several ARMs, and no OCI media type anywhere.
func TestDockerManifestList(t *testing.T) {
	const (
		list   = "application/vnd.docker.distribution.manifest.list.v2+json"
		schema = "application/vnd.docker.distribution.manifest.v2+json"
	)
	f := &fakeRegistry{docs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}}
	c := config(f, "amd64")
	c.MediaType = "application/vnd.docker.container.image.v1+json"
	layer := f.add("application/vnd.docker.image.rootfs.diff.tar.gzip", []byte("layer"))
	good := f.add(schema, object{"schemaVersion": 2, "mediaType": schema, "config": c, "layers": []any{layer}})
	good.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	children := []any{good}
	for _, p := range []ocispec.Platform{
		{OS: "linux", Architecture: "arm", Variant: "v7"},
		{OS: "linux", Architecture: "arm64", Variant: "v8"},
		{OS: "windows", Architecture: "amd64", OSVersion: "10.0.17763.1"},
		{OS: "unknown", Architecture: "unknown"}, // an attestation
	} {
		children = append(children, ocispec.Descriptor{
			MediaType: schema, Digest: digest.FromString(p.OS + p.Architecture), Size: 7, Platform: &p,
		})
	}
	root := f.add(list, object{"schemaVersion": 2, "mediaType": list, "manifests": children})
	if err := pull(t, f, root.Digest, anonymous{}); err != nil {
		t.Error(err)
	}
}
