package mirror

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

// openBundle seals b into a file and opens it until the test ends.
func openBundle(t testing.TB, b *bundletest.Builder) *bundle.Bundle {
	t.Helper()
	opened, err := bundle.Open(t.Context(), []string{b.Seal(t)}, bundletest.Options(b.Key))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// mirrorOf makes a Mirror, closed with the test.
func mirrorOf(t testing.TB, o Options, bundles ...*bundle.Bundle) *Mirror {
	t.Helper()
	m, err := New(bundles, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// sample is a bundle with an example of every kind of content.
type sample struct {
	*bundle.Bundle
	kubelet, stored []byte // plain and compressed
	index, manifest ocispec.Descriptor
	layer           digest.Digest
	absent          digest.Digest // of a platform manifest that was left out
}

var kubelet = bytes.Repeat([]byte("kubelet "), 40_000) // more than is sent in one write

// newSample seals and opens a sample; change alters the bundle before.
func newSample(t testing.TB, change ...func(*bundletest.Builder)) *sample {
	t.Helper()
	b := bundletest.New(t)
	b.Lock.Sequence, b.Lock.Created = 7, time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
	b.AddFile(t, "kubelet", "kubernetes/1.36.3/amd64/kubelet", kubelet, true)
	b.AddFile(t, "cni-plugins", "cni/cni-plugins.tgz", []byte("cni plugins"), false)
	b.AddMetadata(bundletest.YumGroup, "repodata/repomd.xml", []byte("<repomd/>"))
	b.AddPackage(t, manifests.KindRPM, bundletest.YumGroup, "Packages/c/chrony-4.3-1.el9~1^a+b.x86_64.rpm", []byte("an RPM"))
	b.AddMetadata(bundletest.AptGroup, "dists/offk8s/InRelease", []byte("signed"))
	b.AddMetadata(bundletest.AptGroup, "dists/offk8s/main/binary-amd64/Packages", []byte("Package: chrony\n"))
	b.AddPackage(t, manifests.KindDeb, bundletest.AptGroup, "pool/chrony_4.3-2+deb12u1_amd64.deb", []byte("a deb"))
	b.AddIndex(t, "registry.k8s.io/pause:3.10", []string{"amd64"}, []string{"arm64"})
	b.AddImage(t, "docker.io/library/busybox:1.36", "amd64")
	for _, f := range change {
		f(b)
	}
	s := &sample{Bundle: openBundle(t, b), kubelet: kubelet, stored: bundletest.Compress(t, kubelet)}
	pause := s.Images()[len(s.Images())-1]
	var index ocispec.Index
	s.decode(t, pause.Descriptor.Digest, &index)
	var manifest ocispec.Manifest
	s.decode(t, index.Manifests[0].Digest, &manifest)
	s.index, s.manifest, s.layer, s.absent = pause.Descriptor, index.Manifests[0], manifest.Layers[0].Digest, pause.Absent[0]
	return s
}

// decode reads a JSON blob.
func (s *sample) decode(t testing.TB, d digest.Digest, v any) {
	t.Helper()
	r, err := s.Blob(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(r).Decode(v); err != nil {
		t.Fatal(err)
	}
}

// damage flips one byte of a blob in the file.
func damage(t testing.TB, b *bundle.Bundle, d digest.Digest) {
	t.Helper()
	at, err := b.Extents(d)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(b.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one := make([]byte, 1)
	off := at[0].Offset + at[0].Size/2
	if _, err := f.ReadAt(one, off); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.WriteAt(one, off); err != nil {
		t.Fatal(err)
	}
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
