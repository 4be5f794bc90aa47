// Package bundletest makes small, complete bundles for the tests of packages
// that read them. The content is invented, so images do not run and packages
// install nothing, but every descriptor is correct.
package bundletest

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// Created is the time in every bundle of this package.
var Created = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// Names of the content of Small.
const (
	PauseImage   = "registry.k8s.io/pause:3.10"   // one manifest per architecture; linux/s390x left out
	CoreDNSImage = "registry.k8s.io/coredns:v1.0" // a single manifest
	KubeletPath  = "amd64/kubelet"                // stored with zstd
	PlainPath    = "amd64/cni.conf"               // stored as it is
	YumGroup     = "yum/rocky-9/x86_64"
	AptGroup     = "apt/debian-12"
)

var newKey = sync.OnceValues(func() (*trust.KeyPair, error) { return trust.GenerateKeys(Created.Add(-time.Hour)) })

// Key returns a key pair, the same for all tests of a process.
func Key(t testing.TB) *trust.KeyPair {
	t.Helper()
	k, err := newKey()
	if err != nil {
		t.Fatalf("generate key: %v", err)
	}
	return k
}

// Builder collects the content of a bundle in memory.
type Builder struct {
	Lock     *manifests.Lock
	Metadata []bundle.FileEntry
	Key      *trust.KeyPair
	Blobs    map[digest.Digest][]byte
}

// New returns a Builder of an empty bundle for Kubernetes 1.36.3.
func New(t testing.TB) *Builder {
	t.Helper()
	return &Builder{
		Key:   Key(t),
		Blobs: map[digest.Digest][]byte{},
		Lock: &manifests.Lock{
			APIVersion: manifests.APIVersion,
			Kind:       manifests.KindLock,
			Name:       "kubernetes-1.36",
			Sequence:   1,
			Created:    Created,
			Kubernetes: "1.36.3",
			Minor:      "1.36",
			Arches:     []string{"amd64"},
			Distros:    []string{"rocky-9", "debian-12"},
			CNI:        "flannel",
			Runtime:    "containerd",
		},
	}
}

// Small seals a small complete bundle into a file and returns its path and key:
// a multi-platform image with an absent platform, a single-platform image,
// files stored plain and compressed, a yum and an apt repository.
func Small(t testing.TB) (path string, key *trust.KeyPair) {
	t.Helper()
	b := New(t)
	b.AddSmall(t)
	return b.Seal(t), b.Key
}

// AddSmall adds the content of Small.
func (b *Builder) AddSmall(t testing.TB) {
	t.Helper()
	b.AddIndex(t, PauseImage, []string{"amd64", "arm64"}, []string{"s390x"})
	b.AddImage(t, CoreDNSImage, "amd64")
	b.AddFile(t, "kubelet", KubeletPath, bytes.Repeat([]byte("kubelet "), 4096), true)
	b.AddFile(t, "cni.conf", PlainPath, []byte("{\"cniVersion\": \"1.0.0\"}\n"), false)
	b.AddPackage(t, manifests.KindRPM, YumGroup, "Packages/c/chrony-4.5-1.el9.x86_64.rpm", []byte("no real rpm\n"))
	b.AddMetadata(YumGroup, "repodata/repomd.xml", []byte("<repomd/>\n"))
	b.AddMetadata(YumGroup, "repodata/repomd.xml.asc", []byte("no real signature\n"))
	b.AddPackage(t, manifests.KindDeb, AptGroup, "pool/main/c/chrony/chrony_4.3-2+deb12u1_amd64.deb", []byte("no real deb\n"))
	b.AddMetadata(AptGroup, "dists/offk8s/InRelease", []byte("Suite: offk8s\n"))
	b.AddMetadata(AptGroup, "dists/offk8s/main/binary-amd64/Packages", []byte("Package: chrony\n"))
}

// Blob stores content and returns its descriptor.
func (b *Builder) Blob(mediaType string, content []byte) manifests.Descriptor {
	d := digest.FromBytes(content)
	b.Blobs[d] = content
	return manifests.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

// AddFile adds a file of group "files" for linux/amd64, compressed if zstd is
// set.
func (b *Builder) AddFile(t testing.TB, name, path string, content []byte, zstd bool) {
	t.Helper()
	a := manifests.Artifact{
		Kind: manifests.KindFile, Name: name, Version: "v1.36.3", Platform: "linux/amd64",
		Group: manifests.GroupFiles, Path: path, Mode: 0o755,
		Source: manifests.Source{URL: "https://example.invalid/" + path, Trust: "catalog"},
	}
	if zstd {
		a.Plain = manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: digest.FromBytes(content), Size: int64(len(content))}
		a.Blob = b.Blob(manifests.MediaTypeFileZstd, Compress(t, content))
	} else {
		a.Blob = b.Blob(manifests.MediaTypeFile, content)
	}
	b.Lock.Artifacts = append(b.Lock.Artifacts, a)
}

// AddPackage adds an RPM or deb.
func (b *Builder) AddPackage(t testing.TB, kind manifests.ArtifactKind, group, path string, content []byte) {
	t.Helper()
	b.Lock.Artifacts = append(b.Lock.Artifacts, manifests.Artifact{
		Kind: kind, Name: filepath.Base(path), Version: "1", Platform: "linux/amd64", Distro: strings.Split(group, "/")[1],
		Group: group, Path: path, Mode: 0o644,
		Source: manifests.Source{URL: "https://example.invalid/" + path, Trust: "signature"},
		Blob:   b.Blob(manifests.MediaTypeFile, content),
	})
}

// AddMetadata adds a file of a repository that is not a package.
func (b *Builder) AddMetadata(group, path string, content []byte) {
	b.Metadata = append(b.Metadata, bundle.FileEntry{
		Group: group, Path: path, Blob: b.Blob(manifests.MediaTypeFile, content),
	})
}

// Compress returns content as pack would store it.
func Compress(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := bundle.NewZstdWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Input returns the input of Seal.
func (b *Builder) Input() bundle.SealInput {
	return bundle.SealInput{
		Lock: b.Lock, Metadata: b.Metadata, Key: b.Key,
		Open: func(d digest.Digest) (io.ReadCloser, error) {
			content, ok := b.Blobs[d]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: d.String(), Err: fs.ErrNotExist}
			}
			return io.NopCloser(bytes.NewReader(content)), nil
		},
	}
}

// Bytes seals into memory.
func (b *Builder) Bytes(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := bundle.Seal(t.Context(), &out, b.Input()); err != nil {
		t.Fatalf("seal: %v", err)
	}
	return out.Bytes()
}

// Seal seals into a file in a temporary directory.
func (b *Builder) Seal(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.tar")
	if err := os.WriteFile(path, b.Bytes(t), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Options returns options that trust k.
func Options(k *trust.KeyPair) bundle.OpenOptions {
	return bundle.OpenOptions{Keys: []trust.PublicKey{k.Public()}}
}

// Open opens Small and closes it at the end of the test.
func Open(t testing.TB) *bundle.Bundle {
	t.Helper()
	path, key := Small(t)
	b, err := bundle.Open(t.Context(), []string{path}, Options(key))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// Successor returns a new key pair that comes after k by the statement s of k.
func Successor(t testing.TB, k *trust.KeyPair, s trust.Statement) *trust.KeyPair {
	t.Helper()
	next, err := trust.GenerateKeys(Created.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	s.Created, s.Next = Created, string(next.PublicPEM())
	if next.History, err = k.History.Add(k, s); err != nil {
		t.Fatal(err)
	}
	return next
}
