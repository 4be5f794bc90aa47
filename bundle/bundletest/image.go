package bundletest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/manifests"
)

// AddImage adds an image of one architecture without an index.
func (b *Builder) AddImage(t testing.TB, name, arch string) {
	t.Helper()
	m := b.manifest(t, name, arch)
	b.addImage(name, m, nil)
}

// AddImageOf adds an image of amd64 with one layer of any content.
func (b *Builder) AddImageOf(t testing.TB, name string, layer []byte) {
	t.Helper()
	b.addImage(name, b.manifestOf(t, "amd64", digest.FromBytes(layer), layer), nil)
}

// AddIndex adds an image with an index of the platforms arches and absent. The
// bundle lacks the manifests of absent.
func (b *Builder) AddIndex(t testing.TB, name string, arches, absent []string) {
	t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	var missing []digest.Digest
	for _, arch := range append(append([]string{}, arches...), absent...) {
		side := b
		if len(index.Manifests) >= len(arches) {
			side = &Builder{Blobs: map[digest.Digest][]byte{}} // made, so that the digest is true, and dropped
		}
		m := side.manifest(t, name, arch)
		if side != b {
			missing = append(missing, m.Digest)
		}
		m.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, m)
	}
	b.addImage(name, b.json(t, ocispec.MediaTypeImageIndex, index), missing)
}

// AddDockerImage adds an image in Docker's format (schema 2): a list of platforms with
// amd64, and without the manifest of arm64.
func (b *Builder) AddDockerImage(t testing.TB, name string) {
	t.Helper()
	plain, layer := layerTar(t, "hello from "+name)
	var config ocispec.Image
	config.Architecture, config.OS = "amd64", "linux"
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain)}}
	amd64 := b.json(t, image.MediaTypeDockerManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: image.MediaTypeDockerManifest,
		Config: b.json(t, "application/vnd.docker.container.image.v1+json", config),
		Layers: []ocispec.Descriptor{oci(b.Blob("application/vnd.docker.image.rootfs.diff.tar.gzip", layer))},
	})
	arm64 := amd64
	arm64.Digest = digest.FromString(name)
	amd64.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm64.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	b.addImage(name, b.json(t, image.MediaTypeDockerIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: image.MediaTypeDockerIndex, Manifests: []ocispec.Descriptor{amd64, arm64},
	}), []digest.Digest{arm64.Digest})
}

func (b *Builder) addImage(name string, d ocispec.Descriptor, absent []digest.Digest) {
	b.Lock.Artifacts = append(b.Lock.Artifacts, manifests.Artifact{
		Kind: manifests.KindImage, Name: name, Version: "1",
		Source: manifests.Source{URL: name, Digest: d.Digest, Trust: "catalog"},
		Blob:   manifests.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
		Absent: absent,
	})
}

// Attach makes a manifest with layers hang on the image called name: under its digest and
// suffix, as cosign does, or without a suffix as a referrer.
func (b *Builder) Attach(t testing.TB, name, suffix string, layers ...ocispec.Descriptor) {
	t.Helper()
	for _, a := range b.Lock.Artifacts {
		if a.Name != name {
			continue
		}
		repo := name[:strings.LastIndex(name, ":")]
		m := ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: oci(b.Blob(ocispec.MediaTypeEmptyJSON, []byte("{}"))), Layers: layers,
		}
		at := repo + ":" + image.ReferrersTag(a.Blob.Digest) + suffix
		if suffix == "" {
			subject := oci(a.Blob)
			m.Subject = &subject
		}
		d := b.json(t, ocispec.MediaTypeImageManifest, m)
		if suffix == "" {
			at = repo + "@" + d.Digest.String()
		}
		b.Lock.Artifacts = append(b.Lock.Artifacts, manifests.Artifact{
			Kind: manifests.KindAttachment, Name: at, RequiredBy: name, Requirement: "attached to it",
			Source: manifests.Source{URL: at, Digest: d.Digest, Trust: manifests.TrustAttached},
			Blob:   manifests.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
		})
		return
	}
	t.Fatalf("no image %s", name)
}

// Layer stores the content of a layer.
func (b *Builder) Layer(mediaType string, content []byte, annotations map[string]string) ocispec.Descriptor {
	d := oci(b.Blob(mediaType, content))
	d.Annotations = annotations
	return d
}

// manifest makes an image manifest with one layer of one file.
func (b *Builder) manifest(t testing.TB, name, arch string) ocispec.Descriptor {
	t.Helper()
	plain, layer := layerTar(t, "hello from "+name+" "+arch)
	return b.manifestOf(t, arch, digest.FromBytes(plain), layer)
}

func (b *Builder) manifestOf(t testing.TB, arch string, diffID digest.Digest, layer []byte) ocispec.Descriptor {
	t.Helper()
	var image ocispec.Image
	image.Architecture, image.OS = arch, "linux"
	image.Created = &Created
	image.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}
	return b.json(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    b.json(t, ocispec.MediaTypeImageConfig, image),
		Layers:    []ocispec.Descriptor{oci(b.Blob(ocispec.MediaTypeImageLayerGzip, layer))},
	})
}

func (b *Builder) json(t testing.TB, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return oci(b.Blob(mediaType, content))
}

func oci(d manifests.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// layerTar returns a layer with the file /hello, plain and gzipped.
func layerTar(t testing.TB, content string) (plain, zipped []byte) {
	t.Helper()
	var out, packed bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), packed.Bytes()
}
