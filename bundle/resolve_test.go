package bundle_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

func find(t *testing.T, l *manifests.Lock, name, platform string) manifests.Artifact {
	t.Helper()
	for _, a := range l.Artifacts {
		if a.Name == name && a.Platform == platform {
			return a
		}
	}
	t.Fatalf("no artifact %q for %q", name, platform)
	return manifests.Artifact{}
}

func TestResolve(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	m := wanted("debian-12", "rocky-9")
	m.Arches = []string{"arm64", "amd64"}
	l := p.mustResolve(m)
	head := []any{l.Name, l.Sequence, l.Created, l.Kubernetes, l.Minor, l.Arches, l.Distros, l.CNI, l.Runtime}
	want := []any{
		"kubernetes-1.36", int64(1), bundletest.Created, "1.36.3", "1.36",
		[]string{"amd64", "arm64"},
		[]string{"debian-12", "rocky-9"},
		"flannel", "containerd",
	}
	if diff := cmp.Diff(want, head); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
	if !slices.IsSortedFunc(l.Artifacts, manifests.CompareArtifacts) {
		t.Error("artifacts are not sorted")
	}
	kubelet := find(t, l, "kubelet", "linux/arm64")
	if kubelet.Path != "kubernetes/v1.36.3/linux/arm64/kubelet" || kubelet.Group != "files" || kubelet.Mode != 0o755 ||
		kubelet.Source.Member != "kubernetes/server/bin/kubelet" || kubelet.Source.Digest.Algorithm() != digest.SHA512 {
		t.Errorf("kubelet: %+v", kubelet)
	}
	etcd := find(t, l, "etcd", "linux/arm64")
	if etcd.Source.Member != "etcd-v3.6.14-linux-arm64/etcd" {
		t.Errorf("etcd: member %q", etcd.Source.Member)
	}
	data := find(t, l, "made-up-data", "")
	if data.Kind != manifests.KindDeb || data.Source.URL != "apt:debian/pool/main/m/made-up-data/made-up-data_2.0-1_all.deb" || data.Source.Signer == "" {
		t.Errorf("package for all architectures: %+v", data)
	}
	for _, a := range l.Artifacts {
		if strings.Contains(a.Source.URL, p.up.URL) || strings.Contains(a.Source.URL, p.dir) {
			t.Errorf("%s: the lock has an address of this machine: %q", a.Name, a.Source.URL)
		}
		if a.Source.Digest == "" || a.Source.Trust == "" {
			t.Errorf("%s: no digest or no evidence", a.Name)
		}
	}
	if l.CNIRelease.Objects == "" || l.DistroData["rocky-9"].Keys["rocky-9.asc"] == "" || len(l.Release.Components) == 0 {
		t.Error("the lock lacks what install needs of the catalog")
	}
}

func TestResolveReportsEveryProblem(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	m := wanted("rocky-9", "beos-5", "centos-7")
	m.Arches = []string{"arm64", "mips"}
	m.CNI, m.Runtime = "carrier-pigeon", "docker"
	m.Images = []string{"a/b@sha256:short"}
	m.Files = []manifests.ExtraFile{{Name: "x", URL: "gopher://x"}}
	before := len(p.up.Requests())
	_, err := p.resolve(m)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`"beos-5"`, `"carrier-pigeon"`, `"docker"`, "a/b@sha256:short", "gopher://x", `"mips"`,
		"centos-7", `"offk8s linux/mips": no binary was given`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s:\n%v", want, err)
		}
	}
	if got := p.up.Requests()[before:]; len(got) > 0 {
		t.Errorf("asked the network in vain: %v", got)
	}
	if _, err := p.resolve(manifests.Manifest{Kubernetes: "1.99"}); err == nil || !strings.Contains(err.Error(), "1.99") {
		t.Errorf("unknown version: %v", err)
	}
}

func TestT20PinsAreDemanded(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	_, err := p.resolve(wanted("rocky-9"), func(o *bundle.ResolveOptions) { o.Require = bundle.RequirePinned })
	if !errors.Is(err, bundle.ErrPolicy) || !strings.Contains(err.Error(), "flannel") {
		t.Errorf("got %v, want a refusal of the images without digest", err)
	}
}

func TestResolveAptSources(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	var without []manifests.Rewrite
	for _, r := range up.Rewrites() {
		if !strings.HasPrefix(r.From, fetch.AptScheme) {
			without = append(without, r)
		}
	}
	client, err := fetch.NewClient(fetch.Options{Rewrites: without, Sleep: nil, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	host := func(root string) func(*bundle.ResolveOptions) {
		return func(o *bundle.ResolveOptions) { o.Client, o.HostRoot = client, root }
	}
	write := func(root, name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sources := "deb " + up.URL + "/apt/debian bookworm main\ndeb " + up.URL + "/apt/debian bookworm-updates main\n" +
		"deb " + up.URL + "/apt/debian-security bookworm-security main\n"
	for _, tt := range []struct {
		name, release, sources string
		ok                     bool
	}{
		{"machine of that distribution", "ID=debian\nVERSION_ID=\"12\"\n", sources, true},
		{"another version", "ID=debian\nVERSION_ID=\"11\"\n", sources, false},
		{"another distribution", "ID=ubuntu\nVERSION_ID=\"12.04\"\n", sources, false},
		{"no sources", "ID=debian\nVERSION_ID=\"12\"\n", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write(root, "etc/os-release", tt.release)
			write(root, "etc/apt/sources.list", tt.sources)
			l, err := p.resolve(wanted("debian-12"), host(root))
			if tt.ok && err != nil {
				t.Fatal(err)
			}
			if tt.ok {
				if got := find(t, l, "chrony", "linux/amd64").Source.URL; !strings.HasPrefix(got, "apt:debian/") {
					t.Errorf("address %q", got)
				}
				return
			}
			if !errors.Is(err, fetch.ErrNoArchive) || !strings.Contains(err.Error(), `"apt:debian"`) {
				t.Errorf("got %v, want what to do about it", err)
			}
		})
	}
}

func TestResolveLocalFiles(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	path := filepath.Join(p.dir, "note.txt")
	if err := os.WriteFile(path, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := wanted("rocky-9")
	m.Files = []manifests.ExtraFile{{Name: "note.txt", URL: "file://" + path}}
	l := p.mustResolve(m)
	a := find(t, l, "note.txt", "")
	if a.Source.Trust != manifests.TrustLocal || a.Source.URL != "file:note.txt" || a.Path != "extra/note.txt" {
		t.Errorf("got %+v", a)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p.pack(l, "b.tar")
	m.Files[0].Digest = digest.FromString("other").String()
	if err := os.WriteFile(path, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.resolve(m); !errors.Is(err, bundle.ErrVerify) {
		t.Errorf("file with another digest: %v", err)
	}
}

func TestResolveUserKeyring(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	// The catalog without the key that signs the made-up packages.
	overlay := filepath.Join(p.dir, "catalog")
	if err := os.RemoveAll(filepath.Join(overlay, "keys")); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.catalog, err = catalog.Embedded(); err != nil {
		t.Fatal(err)
	}
	if err := p.catalog.Overlay(overlay); err != nil {
		t.Fatal(err)
	}
	m := wanted("debian-12", "rocky-9")
	if _, err := p.resolve(m); !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), "debian-12") {
		t.Errorf("without the key: %v", err)
	}
	for name, content := range map[string][]byte{"ring.asc": up.PublicKey(), "ring.gpg": dearmor(t, up.PublicKey())} {
		ring := filepath.Join(p.dir, name)
		if err := os.WriteFile(ring, content, 0o644); err != nil {
			t.Fatal(err)
		}
		m.Keyrings = map[string]string{"rocky-9": ring, "debian-12": ring}
		p.pack(p.mustResolve(m), "b.tar")
	}
	m.Keyrings["rocky-9"] = filepath.Join(p.dir, "none")
	if _, err := p.resolve(m); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing keyring: %v", err)
	}
}

func dearmor(t *testing.T, b []byte) []byte {
	t.Helper()
	_, body, _ := strings.Cut(string(b), "\n\n")
	body, _, _ = strings.Cut(body, "\n=")
	out, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A bundle has docker only if it is asked for, and then containerd too, both whole.
func TestResolveRuntime(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	m := wanted("centos-7")
	m.Kubernetes = "1.16"
	files := func() (docker, containerd int) {
		for _, a := range p.mustResolve(m).Artifacts {
			switch {
			case strings.HasPrefix(a.Path, "docker/"):
				docker++
			case strings.HasPrefix(a.Path, "containerd/"):
				containerd++
			}
		}
		return docker, containerd
	}
	if docker, containerd := files(); docker != 0 || containerd != 3 {
		t.Errorf("by default: %d files of docker, %d of containerd", docker, containerd)
	}
	m.Runtime = "docker"
	if docker, containerd := files(); docker != 8 || containerd != 3 {
		t.Errorf("with docker: %d files of docker, %d of containerd", docker, containerd)
	}
	for minor, runtime := range map[string]string{"1.36": "docker", "1.16": "etcd"} {
		m.Kubernetes, m.Runtime = minor, runtime
		if _, err := p.resolve(m); err == nil || !strings.Contains(err.Error(), `not with "`+runtime+`"`) {
			t.Errorf("%s with %s: %v", minor, runtime, err)
		}
	}
}

// Addons are in the Lock in the order of pack.yaml, with their images; all that is
// wrong with them is found at once, before the network is used.
func TestResolveAddons(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	objects := filepath.Join(p.dir, "shop.yaml")
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: shop}\nspec: {containers: [{name: a, image: \"docker.io/library/nginx:1\"}]}\n"
	if err := os.WriteFile(objects, []byte(pod), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.up.PushImage("docker.io/library/nginx:1", "shop"); err != nil {
		t.Fatal(err)
	}
	m := wanted("debian-12")
	m.Addons = []manifests.ManifestAddon{{Name: "shop", Files: []string{objects}}, {Name: "metrics-server"}}
	l := p.mustResolve(m)
	if len(l.Addons) != 2 || l.Addons[0].Name != "shop" || l.Addons[1].Name != "metrics-server" {
		t.Fatalf("addons: %+v", l.Addons)
	}
	if !l.Addons[0].Release.Literal || l.Addons[1].Release.Literal || !strings.Contains(l.Addons[1].Release.Objects, "kind: APIService") {
		t.Errorf("objects: %+v", l.Addons)
	}
	for _, a := range l.Addons {
		for _, i := range a.Release.Images {
			if find(t, l, i.Ref, "").Source.Digest == "" {
				t.Errorf("%s has no digest", i.Ref)
			}
		}
	}
	m.Addons = []manifests.ManifestAddon{{Name: "spegel"}}
	m.Kubernetes = "1.32"
	if _, err := p.resolve(m); !errors.Is(err, bundle.ErrInput) || !strings.Contains(err.Error(), "only for 1.33 to the newest") {
		t.Errorf("an addon that the minor does not have: %v", err)
	}
	m.Addons = []manifests.ManifestAddon{{Name: "nothing"}, {Name: "shop", Files: []string{objects + ".gone"}}}
	if _, err := p.resolve(m); !errors.Is(err, bundle.ErrInput) || !strings.Contains(err.Error(), `"nothing" is not in the catalog, which has metrics-server, node-local-dns`) ||
		!strings.Contains(err.Error(), "shop.yaml.gone") {
		t.Errorf("wrong addons: %v", err)
	}
}
