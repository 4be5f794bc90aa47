package bundle_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

func TestSealOpenVerify(t *testing.T) {
	b := bundletest.Open(t)
	var last int64
	err := b.Verify(t.Context(), bundle.VerifyOptions{Progress: func(done, total int64) {
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	}})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if last == 0 {
		t.Error("no progress reported")
	}
	var images, files []string
	for _, e := range b.Images() {
		images = append(images, e.Name)
	}
	for _, f := range b.Files() {
		files = append(files, f.Label())
	}
	if diff := cmp.Diff([]string{bundletest.CoreDNSImage, bundletest.PauseImage}, images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	want := []string{
		"apt/debian-12/dists/offk8s/InRelease",
		"apt/debian-12/dists/offk8s/main/binary-amd64/Packages",
		"apt/debian-12/pool/main/c/chrony/chrony_4.3-2+deb12u1_amd64.deb",
		"files/amd64/cni.conf",
		"files/amd64/kubelet",
		"yum/rocky-9/x86_64/Packages/c/chrony-4.5-1.el9.x86_64.rpm",
		"yum/rocky-9/x86_64/repodata/repomd.xml",
		"yum/rocky-9/x86_64/repodata/repomd.xml.asc",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if b.Root() != digest.FromBytes(b.HeadFile(bundle.MemberIndex)) {
		t.Errorf("root %s is not the digest of index.json", b.Root())
	}
}

func TestSealIsDeterministic(t *testing.T) {
	first := bundletest.New(t)
	first.AddSmall(t)
	second := bundletest.New(t)
	second.AddSmall(t)
	// The order in which artifacts were found must not matter.
	for i, j := 0, len(second.Lock.Artifacts)-1; i < j; i, j = i+1, j-1 {
		second.Lock.Artifacts[i], second.Lock.Artifacts[j] = second.Lock.Artifacts[j], second.Lock.Artifacts[i]
	}
	if !bytes.Equal(first.Bytes(t), second.Bytes(t)) {
		t.Error("the same content sealed twice gives different bytes")
	}
}

// TestSHA512 has a blob under a name that does not fit a ustar header.
func TestSHA512(t *testing.T) {
	b := bundletest.New(t)
	b.AddFile(t, "f", "f", []byte("content"), false)
	d := digest.SHA512.FromString("content")
	b.Blobs[d] = []byte("content")
	b.Lock.Artifacts[0].Blob.Digest = d
	raw, o := b.Bytes(t), bundletest.Options(b.Key)
	if err := checkBytes(t, raw, o); err != nil {
		t.Fatal(err)
	}
	raw[bytes.Index(raw, []byte("content\x00"))]++
	if err := checkBytes(t, raw, o); !errors.Is(err, bundle.ErrVerify) {
		t.Errorf("altered: %v", err)
	}

	b.Lock.Artifacts[0].Blob.Digest = digest.SHA384.FromString("content")
	if _, err := bundle.Seal(t.Context(), &bytes.Buffer{}, b.Input()); err == nil {
		t.Error("sealed a sha384 blob")
	}
}

func TestUnsigned(t *testing.T) {
	b := bundletest.New(t)
	b.AddSmall(t)
	b.Key = nil
	path := filepath.Join(t.TempDir(), "b.tar")
	if _, err := bundle.SealFile(t.Context(), path, readBack(b.Input())); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Open(t.Context(), []string{path}, bundletest.Options(bundletest.Key(t))); !errors.Is(err, bundle.ErrPolicy) {
		t.Errorf("opened an unsigned bundle: %v", err)
	}
	opened, err := bundle.Open(t.Context(), []string{path}, bundle.OpenOptions{AllowUnsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if s, err := bundle.Inspect(opened); err != nil || s.Signed || s.Signer != "" || opened.OpenPGPKey() != nil {
		t.Errorf("summary of an unsigned bundle: %+v, %v", s, err)
	}
}

func TestSealFile(t *testing.T) {
	b := bundletest.New(t)
	b.AddSmall(t)
	path := filepath.Join(t.TempDir(), "b.tar")
	if err := os.WriteFile(path, []byte("the old one"), 0o644); err != nil {
		t.Fatal(err)
	}

	broken := b.Input()
	open := broken.Open
	for d := range b.Blobs {
		if d == b.Lock.Artifacts[2].Blob.Digest {
			content := bytes.Clone(b.Blobs[d])
			content[0]++
			b.Blobs[d] = content
		}
	}
	broken.Open = open
	for _, in := range []bundle.SealInput{broken, readBack(broken)} {
		_, err := bundle.SealFile(t.Context(), path, in)
		var artifact *bundle.ArtifactError
		if !errors.Is(err, bundle.ErrVerify) || !errors.As(err, &artifact) || artifact.Artifact != "files/amd64/kubelet" {
			t.Fatalf("sealed altered content: %v", err)
		}
		if got, _ := os.ReadFile(path); string(got) != "the old one" {
			t.Error("a failed seal replaced the file")
		}
		if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
			t.Errorf("left behind: %q", left)
		}
	}

	good := bundletest.New(t)
	good.AddSmall(t)
	sealed, err := bundle.SealFile(t.Context(), path, readBack(good.Input()))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := bundle.Open(t.Context(), []string{path}, bundletest.Options(good.Key))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.Root() != sealed.Root {
		t.Errorf("root %s, sealed %s", opened.Root(), sealed.Root)
	}
}

func TestSealRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*bundletest.Builder)
	}{
		{"unfetched artifact", func(b *bundletest.Builder) { b.Lock.Artifacts[0].Blob = manifests.Descriptor{} }},
		{"image twice", func(b *bundletest.Builder) {
			a := b.Lock.Artifacts[0]
			a.Version = "2"
			b.Lock.Artifacts = append(b.Lock.Artifacts, a)
		}},
		{"metadata over a package", func(b *bundletest.Builder) {
			b.AddMetadata(bundletest.YumGroup, "Packages/c/chrony-4.5-1.el9.x86_64.rpm", []byte("x"))
		}},
		{"metadata among files", func(b *bundletest.Builder) { b.AddMetadata("files", "x", []byte("x")) }},
		{"path out of the group", func(b *bundletest.Builder) { b.AddMetadata(bundletest.YumGroup, "../x", []byte("x")) }},
		{"absent manifest not in the index", func(b *bundletest.Builder) {
			b.Lock.Artifacts[0].Absent = append(b.Lock.Artifacts[0].Absent, digest.FromString("x"))
		}},
		{"unlisted absent manifest", func(b *bundletest.Builder) { b.Lock.Artifacts[0].Absent = nil }},
		{"wrong size", func(b *bundletest.Builder) { b.Lock.Artifacts[3].Blob.Size++ }},
		{"invalid lock", func(b *bundletest.Builder) { b.Lock.Sequence = 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := bundletest.New(t)
			b.AddSmall(t)
			tt.change(b)
			var out bytes.Buffer
			if root, err := bundle.Seal(t.Context(), &out, b.Input()); err == nil {
				t.Errorf("sealed as %s", root)
			}
		})
	}
}

func readBack(in bundle.SealInput) bundle.SealInput {
	in.ReadBack = true
	return in
}
