package manifests

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/catalog"
)

func sampleLock(t testing.TB) *Lock {
	t.Helper()
	cat, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	rel, err := cat.Release("1.36")
	if err != nil {
		t.Fatal(err)
	}
	rel.KubeletConfig = map[string]any{"maxPods": int64(110), "x": []any{1.5, "y", int64(1) << 40}}
	cni, err := cat.CNI("flannel")
	if err != nil {
		t.Fatal(err)
	}
	flannel, err := cni.For("1.36")
	if err != nil {
		t.Fatal(err)
	}
	flannel.Template = "" // a Lock carries what it says, not its name
	d := digest.FromString("x")
	return &Lock{
		APIVersion: APIVersion, Kind: KindLock, Name: "kubernetes-1.36", Sequence: 1,
		Created:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Kubernetes: "1.36.3", Minor: "1.36", Arches: []string{"amd64"}, Distros: []string{"rocky-9"}, CNI: "flannel", Runtime: "containerd",
		Release: rel, CNIRelease: flannel, DistroData: map[string]catalog.Distro{},
		Artifacts: []Artifact{
			{
				Kind: KindFile, Name: "kubelet", Version: "v1.36.3", Platform: "linux/amd64", Group: "files", Path: "kubernetes/v1.36.3/linux/amd64/kubelet", Mode: 0o755,
				Source: Source{URL: "https://dl.k8s.io/x", Digest: digest.SHA512.FromString("y"), Trust: "catalog"},
				Blob:   Descriptor{Digest: d, Size: 1},
			},
			{Kind: KindImage, Name: "registry.k8s.io/pause:3.10.2", Version: "3.10.2", Source: Source{URL: "registry.k8s.io/pause:3.10.2", Trust: "first-use"}, Absent: []digest.Digest{d}},
		},
	}
}

// TestLockEncode compares the form, written piece by piece, with that of one encoder.
func TestLockEncode(t *testing.T) {
	l := sampleLock(t)
	l.Artifacts[0].Name = "a\n \"artifacts\": null<&>"
	for _, artifacts := range [][]Artifact{l.Artifacts, l.Artifacts[:1], {}, nil} {
		l.Artifacts = artifacts
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(l); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(l.Encode())); diff != "" {
			t.Errorf("%d artifacts (-encoding/json +ours):\n%s", len(artifacts), diff)
		}
	}
}

func TestLockRoundTrip(t *testing.T) {
	l := sampleLock(t)
	b := l.Encode()
	got, err := LoadSealedLock(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, got); diff != "" {
		t.Error(diff)
	}
}

func TestLockEncodeIsCanonical(t *testing.T) {
	l := sampleLock(t)
	want := l.Encode()
	m := *l
	m.Artifacts = []Artifact{l.Artifacts[1], l.Artifacts[0]}
	m.Created = l.Created.In(time.FixedZone("x", 3600)).Add(999 * time.Millisecond)
	if got := m.Encode(); !bytes.Equal(got, want) {
		t.Error(cmp.Diff(string(want), string(got)))
	}
	if m.Artifacts[0].Kind != KindImage {
		t.Error("Encode changed the order of its receiver")
	}
	loose := append(bytes.TrimSpace(want), "\n\n"...)
	if _, err := LoadLock(loose); err != nil {
		t.Errorf("a Lock touched by an editor: %v", err)
	}
	if _, err := LoadSealedLock(loose); err == nil || !strings.Contains(err.Error(), "canonical") {
		t.Errorf("a sealed Lock touched by an editor: %v", err)
	}
}

func TestT11LoadLockRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		change     func(*Lock)
	}{
		{"kind", "want \"offk8s.dev/v1\"", func(l *Lock) { l.Kind = "Bundle" }},
		{"name", "name", func(l *Lock) { l.Name = "../x" }},
		{"name with a dot at its end", "name", func(l *Lock) { l.Name = "a." }},
		{"name of 129 letters", "name", func(l *Lock) { l.Name = strings.Repeat("a", 129) }},
		{"sequence", "sequence 0", func(l *Lock) { l.Sequence = 0 }},
		{"expired when it was packed", "not after created", func(l *Lock) { l.Expires = l.Created.Add(-time.Hour) }},
		{"created", "created", func(l *Lock) { l.Created = time.Time{} }},
		{"version", "want a full version", func(l *Lock) { l.Kubernetes = "v1.36.3" }},
		{"minor", "minor", func(l *Lock) { l.Minor = "1.35" }},
		{"previous", "previous", func(l *Lock) { l.Previous = "sha256:00" }},
		{"digest algorithm", "sha256 or sha512", func(l *Lock) { l.Artifacts[0].Blob.Digest = digest.SHA384.FromString("x") }},
		{"digest as a path", "invalid checksum digest", func(l *Lock) { l.Artifacts[0].Blob.Digest = "sha256:../../etc/passwd" }},
		{"source digest", "sha256:12", func(l *Lock) { l.Artifacts[0].Source.Digest = "sha256:12" }},
		{"plain digest", "digest", func(l *Lock) { l.Artifacts[0].Plain.Digest = "md5:x" }},
		{"absent digest", "digest", func(l *Lock) { l.Artifacts[1].Absent = []digest.Digest{"x"} }},
		{"size", "negative", func(l *Lock) { l.Artifacts[0].Blob.Size = -1 }},
		{"mode", "mode 4755", func(l *Lock) { l.Artifacts[0].Mode = 0o4755 }},
		{"kind of artifact", "unknown kind", func(l *Lock) { l.Artifacts[0].Kind = "exe" }},
		{"group", "group", func(l *Lock) { l.Artifacts[0].Group = "v2" }},
		{"group with dots", "group", func(l *Lock) { l.Artifacts[0].Group = "yum/../x86_64" }},
		{"image with a path", "no group or path", func(l *Lock) { l.Artifacts[1].Path = "x" }},
		{"platform", "platform", func(l *Lock) { l.Artifacts[0].Platform = "linux/amd64/../x" }},
		{"newline", "printable", func(l *Lock) { l.Artifacts[0].Name = "a\nb" }},
		{"twice", "duplicate", func(l *Lock) { l.Artifacts = append(l.Artifacts, l.Artifacts[0]) }},
		{"same path", "is taken", func(l *Lock) {
			a := l.Artifacts[0]
			a.Name = "other"
			l.Artifacts = append(l.Artifacts, a)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := sampleLock(t)
			tt.change(l)
			if _, err := LoadLock(l.Encode()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestT07LockPaths(t *testing.T) {
	for _, p := range []string{"", ".", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "a\\b", "a%2fb", "a?b", "a#b", "a b", "a\x00b"} {
		l := sampleLock(t)
		l.Artifacts[0].Path = p
		if _, err := LoadLock(l.Encode()); err == nil || !strings.Contains(err.Error(), "path") {
			t.Errorf("path %q: %v", p, err)
		}
	}
	for _, p := range []string{"a", "pool/main/c/chrony_4.3-2+deb12u3_amd64.deb", "Packages/x~1^2.rpm"} {
		l := sampleLock(t)
		l.Artifacts[0].Path = p
		if _, err := LoadLock(l.Encode()); err != nil {
			t.Errorf("path %q: %v", p, err)
		}
	}
}

func FuzzLoadLock(f *testing.F) {
	small := sampleLock(f)
	small.Release, small.CNIRelease = catalog.Release{}, catalog.CNIRelease{}
	f.Add(small.Encode())
	f.Add([]byte(`{"apiVersion":"offk8s.dev/v1","kind":"Lock","name":"a","sequence":1,"created":"2026-01-01T00:00:00.5+01:00","kubernetes":"1.2.3","minor":"1.2","release":{"kubeletConfig":{"a":1e3,"b":-0,"c":1e300}}}`))
	f.Add([]byte(`{"artifacts":[{"kind":"image"}],"artifacts":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := LoadLock(data)
		if err != nil {
			return
		}
		b := l.Encode()
		again, err := LoadSealedLock(b)
		if err != nil {
			t.Fatalf("what Encode wrote is refused: %v\n%s", err, b)
		}
		if !bytes.Equal(again.Encode(), b) {
			t.Fatalf("encoded again it differs:\n%s", b)
		}
	})
}
