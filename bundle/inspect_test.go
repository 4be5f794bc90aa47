package bundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

func TestInspect(t *testing.T) {
	b := bundletest.Open(t)
	got, err := bundle.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	want := bundle.Summary{
		Name: "kubernetes-1.36", Sequence: 1, Created: bundletest.Created, Root: b.Root(),
		Signed: true, SignatureChecked: true, Signer: bundletest.Key(t).Fingerprint(),
		Kubernetes: "1.36.3", Arches: []string{"amd64"}, Distros: []string{"rocky-9", "debian-12"}, CNI: "flannel", Runtime: "containerd",
		Blobs: len(b.Blobs()),
		Kinds: []bundle.KindSummary{{Kind: "image", Count: 2}, {Kind: "file", Count: 2}, {Kind: "rpm", Count: 1}, {Kind: "deb", Count: 1}, {Kind: "metadata", Count: 4}},
	}
	ignore := []cmp.Option{
		cmpopts.IgnoreFields(bundle.KindSummary{}, "Bytes"),
		cmpopts.IgnoreFields(bundle.Summary{}, "Bytes"),
	}
	if diff := cmp.Diff(want, got.Summary, ignore...); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	var kinds int64
	for _, k := range got.Kinds {
		kinds += k.Bytes
	}
	if kinds <= 0 || kinds >= got.Bytes {
		t.Errorf("kinds have %d bytes, all blobs %d", kinds, got.Bytes)
	}
	lines := map[string]bundle.ArtifactSummary{}
	for _, a := range got.Artifacts {
		lines[a.Name] = a
	}
	if a := lines["kubelet"]; a.Path != "files/"+bundletest.KubeletPath || a.Digest == digest.FromString("") || a.Bytes <= 0 || a.Bytes >= 4096*8 {
		t.Errorf("kubelet: %+v", a)
	}
	// Two platforms of two: config, layer and manifest each, and the index.
	if a := lines[bundletest.PauseImage]; a.Bytes < 1000 || a.Path != "" {
		t.Errorf("pause: %+v", a)
	}
}

func TestAccessors(t *testing.T) {
	b := bundletest.Open(t)
	raw, err := os.ReadFile(b.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range b.Blobs() {
		at, err := b.Extents(d)
		if err != nil || len(at) != 1 || d.Algorithm().FromBytes(raw[at[0].Offset:at[0].Offset+at[0].Size]) != d {
			t.Fatalf("%s is not at %+v: %v", d, at, err)
		}
		if b.Label(d) == "" {
			t.Errorf("%s has no label", d)
		}
		if desc, ok := b.Descriptor(d); !ok || desc.Size != at[0].Size {
			t.Errorf("descriptor of %s: %+v", d, desc)
		}
	}
	strange := digest.FromString("strange")
	if _, err := b.Blob(strange); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("blob that is not there: %v", err)
	}
	if at, err := b.Extents("sha256:../../index.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("extents of a digest that is none: %v, %v", at, err)
	}
	for _, e := range b.Images() {
		if desc, _ := b.Descriptor(e.Descriptor.Digest); desc.MediaType != e.Descriptor.MediaType {
			t.Errorf("%s: media type %q", e.Name, desc.MediaType)
		}
		if e.Name == bundletest.PauseImage {
			if len(e.Absent) != 1 {
				t.Errorf("absent of %s: %v", e.Name, e.Absent)
			} else if _, ok := b.Descriptor(e.Absent[0]); ok {
				t.Errorf("%s has what it says is absent", e.Name)
			}
		}
	}
	if got := b.OpenPGPKey(); string(got) != string(bundletest.Key(t).OpenPGPPublic) {
		t.Errorf("repository key %q", got)
	}
	if b.HeadFile("x") != nil || len(b.HeadFile(bundle.MemberReadme)) == 0 {
		t.Error("head files")
	}
	want := bundle.Config{Name: "kubernetes-1.36", Sequence: 1, Created: bundletest.Created, Keys: []string{string(bundletest.Key(t).PublicPEM())}}
	if diff := cmp.Diff(want, b.Config()); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if got := b.Lock().Artifacts; len(got) != 6 || got[0].Kind != manifests.KindDeb {
		t.Errorf("lock: %+v", got)
	}
}

// TestDeviceErrorsAreNoForgery: what cannot be read was not tampered with.
func TestDeviceErrorsAreNoForgery(t *testing.T) {
	path, key := bundletest.Small(t)
	b, err := bundle.Open(t.Context(), []string{path}, bundletest.Options(key))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context(), bundle.VerifyOptions{}); err == nil || errors.Is(err, bundle.ErrVerify) {
		t.Errorf("verify of a closed bundle: %v", err)
	}
	_, err = bundle.Open(t.Context(), []string{filepath.Join(t.TempDir(), "x")}, bundletest.Options(key))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, bundle.ErrVerify) {
		t.Errorf("open a missing file: %v", err)
	}
	if _, err := bundle.Open(t.Context(), nil, bundletest.Options(key)); err == nil || errors.Is(err, bundle.ErrVerify) {
		t.Errorf("open nothing: %v", err)
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 3 << 40: "3.0 TiB", 1 << 50: "1024.0 TiB",
	} {
		if got := bundle.FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}
