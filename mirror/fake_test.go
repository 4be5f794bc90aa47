package mirror

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
)

// fake is a bundle whose blobs lie in one file, without tar around them.
type fake struct {
	t      testing.TB
	file   *os.File
	at     map[digest.Digest][2]int64
	end    int64
	lock   manifests.Lock
	images []bundle.ImageEntry
	files  []bundle.FileEntry
	layers []ocispec.Descriptor
	index  []byte
	key    []byte

	inMemory bool // the mirror gets no file, only readers
}

func newFake(t testing.TB) *fake {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "bundle.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &fake{
		t: t, file: file, at: make(map[digest.Digest][2]int64),
		lock: manifests.Lock{
			Name: "kubernetes-1.36", Sequence: 7, Kubernetes: "1.36.3", CNI: "flannel", Runtime: "containerd",
			Arches: []string{"amd64"}, Distros: []string{"rocky-9", "debian-12"},
			Created: time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC),
		},
		key: []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"),
	}
}

func (f *fake) blob(content []byte, mediaType string) ocispec.Descriptor {
	f.t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	if _, ok := f.at[d.Digest]; !ok {
		// A few bytes between blobs, so that a wrong offset shows.
		if _, err := f.file.WriteAt(append([]byte("????"), content...), f.end); err != nil {
			f.t.Fatal(err)
		}
		f.at[d.Digest] = [2]int64{f.end + 4, d.Size}
		f.end += 4 + d.Size
	}
	return d
}

func (f *fake) json(v any, mediaType string) ocispec.Descriptor {
	f.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.blob(body, mediaType)
}

// addFile stores content as it is.
func (f *fake) addFile(group, path string, content []byte) {
	d := f.blob(content, manifests.MediaTypeFile)
	plain := manifests.Descriptor{Digest: d.Digest, Size: d.Size}
	f.layers = append(f.layers, d)
	f.files = append(f.files, bundle.FileEntry{Group: group, Path: path, MediaType: d.MediaType, Blob: plain, Plain: plain})
}

// addZstd stores content compressed and returns the compressed bytes.
func (f *fake) addZstd(group, path string, content []byte) []byte {
	stored := compress(content)
	d := f.blob(stored, manifests.MediaTypeFileZstd)
	f.layers = append(f.layers, d)
	f.files = append(f.files, bundle.FileEntry{
		Group: group, Path: path, MediaType: d.MediaType,
		Blob:  manifests.Descriptor{Digest: d.Digest, Size: d.Size},
		Plain: manifests.Descriptor{Digest: digest.FromBytes(content), Size: int64(len(content))},
	})
	return stored
}

func compress(content []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(content, nil)
}

// manifest makes an image manifest of one layer.
func (f *fake) manifest(layer []byte) ocispec.Descriptor {
	return f.json(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config: f.json(ocispec.Image{
			Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"},
			RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
		}, ocispec.MediaTypeImageConfig),
		Layers: []ocispec.Descriptor{f.blob(layer, ocispec.MediaTypeImageLayer)},
	}, ocispec.MediaTypeImageManifest)
}

// absentPlatform is the manifest that addImage's indexes name and lack.
var absentPlatform = digest.FromString("the arm64 manifest")

// addImage adds an index of an amd64 manifest and a left-out arm64 one, and
// returns the descriptors of index and manifest.
func (f *fake) addImage(name string, layer []byte) (index, manifest ocispec.Descriptor) {
	manifest = f.manifest(layer)
	child := manifest
	child.Platform = &ocispec.Platform{Architecture: "amd64", OS: "linux"}
	index = f.json(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{child, {
			MediaType: ocispec.MediaTypeImageManifest, Digest: absentPlatform, Size: 99,
			Platform: &ocispec.Platform{Architecture: "arm64", OS: "linux"},
		}},
	}, ocispec.MediaTypeImageIndex)
	f.images = append(f.images, bundle.ImageEntry{Name: name, Descriptor: index, Absent: []digest.Digest{absentPlatform}})
	return index, manifest
}

// seal writes index.json.
func (f *fake) seal() *fake {
	f.t.Helper()
	contents := f.json(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: f.layers}, ocispec.MediaTypeImageManifest)
	index := ocispec.Index{Manifests: []ocispec.Descriptor{contents}}
	for _, img := range f.images {
		index.Manifests = append(index.Manifests, img.Descriptor)
	}
	body, err := json.Marshal(index)
	if err != nil {
		f.t.Fatal(err)
	}
	f.index = body
	return f
}

// damage flips one byte of a blob in the file.
func (f *fake) damage(d digest.Digest) {
	f.t.Helper()
	one := make([]byte, 1)
	off := f.at[d][0] + f.at[d][1]/2
	if _, err := f.file.ReadAt(one, off); err != nil {
		f.t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.file.WriteAt(one, off); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) Root() digest.Digest         { return digest.FromBytes(f.index) }
func (f *fake) Lock() *manifests.Lock       { return &f.lock }
func (f *fake) Images() []bundle.ImageEntry { return f.images }
func (f *fake) Files() []bundle.FileEntry   { return f.files }
func (f *fake) OpenPGPKey() []byte          { return f.key }

func (f *fake) Path() string {
	if f.inMemory {
		return ""
	}
	return f.file.Name()
}

func (f *fake) Offset(d digest.Digest) (off, size int64, ok bool) {
	at, ok := f.at[d]
	return at[0], at[1], ok
}

func (f *fake) HeadFile(name string) []byte {
	switch name {
	case bundle.MemberIndex:
		return f.index
	case bundle.MemberSignature:
		return []byte("signature")
	}
	return nil
}

func (f *fake) Blob(d digest.Digest) (*io.SectionReader, error) {
	at, ok := f.at[d]
	if !ok {
		return nil, fmt.Errorf("no blob %s", d)
	}
	return io.NewSectionReader(f.file, at[0], at[1]), nil
}

// mirrorOf makes a Mirror, closed with the test.
func mirrorOf(t testing.TB, o Options, bundles ...*fake) *Mirror {
	t.Helper()
	m, err := New(bundles, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// sample is a bundle with something of everything.
type sample struct {
	*fake
	kubelet, stored []byte // plain and compressed
	index, manifest ocispec.Descriptor
	layer           []byte
}

func newSample(t testing.TB) *sample {
	t.Helper()
	s := &sample{fake: newFake(t)}
	s.kubelet = bytes.Repeat([]byte("kubelet "), 40_000) // more than the small path
	s.layer = bytes.Repeat([]byte("layer of pause "), 10_000)
	s.stored = s.addZstd("files", "kubernetes/1.36.3/amd64/kubelet", s.kubelet)
	s.addFile("files", "cni/cni-plugins.tgz", []byte("cni plugins"))
	s.addFile("yum/rocky-9/x86_64", "repodata/repomd.xml", []byte("<repomd/>"))
	s.addFile("yum/rocky-9/x86_64", "Packages/c/chrony-4.3-1.el9~1^a+b.x86_64.rpm", []byte("an RPM"))
	s.addFile("apt/debian-12", "dists/offk8s/InRelease", []byte("signed"))
	s.addFile("apt/debian-12", "dists/offk8s/main/binary-amd64/Packages", []byte("Package: chrony\n"))
	s.addFile("apt/debian-12", "pool/chrony_4.3-2+deb12u1_amd64.deb", []byte("a deb"))
	s.index, s.manifest = s.addImage("registry.k8s.io/pause:3.10", s.layer)
	s.addImage("docker.io/library/busybox:1.36", []byte("busybox"))
	s.seal()
	return s
}

// get answers a request in process. The target is taken as it is, uncleaned.
func get(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, "http://mirror:8080/", nil)
	path, query, _ := strings.Cut(target, "?")
	r.URL.RawQuery = query
	r.URL.Path = path
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
