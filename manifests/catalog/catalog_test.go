package catalog

import (
	"encoding/json"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var embeddedOnce = sync.OnceValues(Embedded)

// loadEmbedded returns a catalog of the caller's own. Its entries are shared, so
// a merge that wrote into them would show in other tests.
func loadEmbedded(t testing.TB) *Catalog {
	t.Helper()
	c, err := embeddedOnce()
	if err != nil {
		t.Fatal(err)
	}
	own := *c
	return &own
}

// golden compares got with testdata/golden/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (go test -update rewrites it):\n%s", file, diff)
	}
}

// goldenMinors have golden files. What the other minors have is in their generated
// files in kubernetes, where a change shows as well.
var goldenMinors = []string{"1.16", "1.36"}

func TestReleaseGolden(t *testing.T) {
	c := loadEmbedded(t)
	for _, minor := range goldenMinors {
		r, err := c.Release(minor)
		if err != nil {
			t.Fatal(err)
		}
		r.DNSTemplate = "" // has a golden of its own
		b, err := json.MarshalIndent(map[string]any{"release": r}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "release-"+r.Minor+".json", append(b, '\n'))
	}
}

func TestObjectsGolden(t *testing.T) {
	c := loadEmbedded(t)
	for _, r := range c.Versions() {
		data := sampleData("coredns")
		data.Forward = r.Minor == "1.16"
		b, err := RenderObjects(r.DNSTemplate, data)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(goldenMinors, r.Minor) {
			golden(t, "dns-"+r.Minor+".yaml", b)
		}
		checkObjects(t, r.Minor, b)
	}
	for _, n := range c.cnis {
		for _, r := range n.Releases {
			data := sampleData(slices.Collect(maps.Keys(r.Images))...)
			data.Options, data.Namespace = r.samples()[0], r.ObjectNamespace()
			b, err := RenderObjects(r.Objects, data)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "cni-"+n.Name+"-"+r.Version+".yaml", b)
			checkObjects(t, n.Name+" "+r.Version, b)
		}
	}
}

// checkObjects reads what was rendered: every document is an object whose
// apiVersion 1.16 to 1.36 all serve.
func checkObjects(t *testing.T, minor string, b []byte) {
	t.Helper()
	served := map[string]string{
		"Namespace": "v1", "ServiceAccount": "v1", "ConfigMap": "v1", "Service": "v1",
		"ClusterRole": "rbac.authorization.k8s.io/v1", "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
		"DaemonSet": "apps/v1", "Deployment": "apps/v1", "CustomResourceDefinition": "apiextensions.k8s.io/v1",
	}
	n := 0
	for _, doc := range strings.Split(string(b), "\n---\n") {
		var o struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
		}
		var raw map[string]any
		if err := yaml.Unmarshal([]byte(doc), &raw); err != nil {
			t.Fatalf("%s: %v\n%s", minor, err, doc)
		}
		if len(raw) == 0 {
			continue
		}
		o.APIVersion, _ = raw["apiVersion"].(string)
		o.Kind, _ = raw["kind"].(string)
		if served[o.Kind] == "" || served[o.Kind] != o.APIVersion {
			t.Errorf("%s: %s %s", minor, o.APIVersion, o.Kind)
		}
		n++
	}
	if n < 5 {
		t.Errorf("%s: %d objects", minor, n)
	}
}

func TestRenderObjectsMissingRole(t *testing.T) {
	if _, err := RenderObjects("{{.Images.x}}", ObjectData{Images: map[string]string{"y": "z"}}); err == nil {
		t.Error("an image that nobody names was rendered")
	}
}

// TestCatalogPins holds for the embedded catalog, beyond what loading checks:
// every download comes by https with a digest, but for those named here, and every image
// has a digest.
func TestCatalogPins(t *testing.T) {
	unpinned := []string{"cfssl-certinfo/arm64"} // no public digest
	machines := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	for _, r := range loadEmbedded(t).Versions() {
		for _, d := range r.Components {
			if got := slices.Sorted(maps.Keys(d.Arches)); !slices.Equal(got, Arches) {
				t.Errorf("%s %s: architectures %v", r.Minor, d.Name, got)
			}
			for a, remote := range d.Arches {
				if !strings.HasPrefix(remote.URL, "https://") {
					t.Errorf("%s %s: %s", r.Minor, d.Name, remote.URL)
				}
				if (remote.Digest == "") != slices.Contains(unpinned, d.Name+"/"+a) {
					t.Errorf("%s %s %s: digest %q", r.Minor, d.Name, a, remote.Digest)
				}
				if !strings.Contains(remote.URL, strings.TrimPrefix(d.Version, "v")) ||
					!strings.Contains(remote.URL, a) && !strings.Contains(remote.URL, machines[a]) {
					t.Errorf("%s %s %s: %s is another one", r.Minor, d.Name, d.Version, remote.URL)
				}
			}
		}
		checkImagePins(t, r.Minor, r.Images)
	}
	c := loadEmbedded(t)
	for name, n := range c.cnis {
		for _, r := range n.Releases {
			checkImagePins(t, name, r.Images)
		}
	}
	for name, a := range c.addons {
		for _, r := range a.Releases {
			checkImagePins(t, name, r.Images)
		}
	}
}

func checkImagePins(t *testing.T, of string, images map[string]Image) {
	t.Helper()
	if len(images) == 0 {
		t.Errorf("%s has no images", of)
	}
	for _, i := range images {
		if i.Digest == "" {
			t.Errorf("%s: %s has no digest", of, i.Ref)
		}
	}
}

func TestT46CatalogFixFloor(t *testing.T) {
	// The first version of each line without the holes named beside it.
	floors := map[string]map[string]string{
		"kubernetes": {"1.16": "1.16.13"},                               // CVE-2020-8557, -8558, -8559
		"runc":       {"1.2": "1.2.8", "1.3": "1.3.3", "1.4": "1.4.0"},  // CVE-2025-31133, -52565, -52881
		"containerd": {"1.7": "1.7.29", "2.1": "2.1.5", "2.2": "2.2.0"}, // CVE-2024-25621, CVE-2025-64329
	}
	for _, r := range loadEmbedded(t).Versions() {
		for _, d := range r.Components {
			lines, ok := floors[d.Name]
			if !ok {
				continue
			}
			v, err := ParseVersion(d.Version)
			if err != nil {
				t.Fatal(err)
			}
			floor, known := lines[v.MinorString()]
			if !known {
				if d.Name != "kubernetes" {
					t.Errorf("%s %s: no fix floor is known for this line", d.Name, d.Version)
				}
				continue
			}
			if f, _ := ParseVersion(floor); v.Compare(f) < 0 {
				t.Errorf("%s: %s %s is below %s", r.Minor, d.Name, d.Version, floor)
			}
		}
		if v, _ := ParseVersion(r.Version); r.EndOfLife == "" && v.Minor < 30 {
			t.Errorf("%s: old, but no end of life is given", r.Minor)
		}
	}
}

// TestCatalogFilesAreUsed finds keys and templates that nothing names.
func TestCatalogFilesAreUsed(t *testing.T) {
	c := loadEmbedded(t)
	used := map[string]bool{}
	for _, n := range c.cnis {
		for _, r := range n.Releases {
			for _, file := range r.templates() {
				used[path.Join("cni", n.Name, file)] = true
			}
		}
	}
	for _, d := range c.distros {
		for _, f := range d.keyFiles() {
			used["keys/"+f] = true
		}
	}
	err := fs.WalkDir(embedded, ".", func(p string, e fs.DirEntry, err error) error {
		named := strings.HasPrefix(p, "keys/") || strings.HasPrefix(p, "cni/") && !strings.HasSuffix(p, "/cni.yaml")
		if err == nil && !e.IsDir() && named && !used[p] {
			t.Errorf("%s is not used", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCatalogLookups(t *testing.T) {
	c := loadEmbedded(t)
	for _, s := range []string{"1.16", "1.16.15", "v1.16.15", "v1.16"} {
		r, err := c.Release(s)
		if err != nil || r.Version != "1.16.15" || r.DNSTemplate == "" {
			t.Errorf("%s: %q, %v", s, r.Version, err)
		}
	}
	for _, s := range []string{"1.16.99", "1.15", "", "1", "x.y", "1.36.3-rc.1", "1.036", "1.36.3.1"} {
		if _, err := c.Release(s); err == nil {
			t.Errorf("%q was found", s)
		}
	}
	if _, err := c.Release("1.99"); err == nil || !strings.Contains(err.Error(), "1.16, 1.17, ") || !strings.Contains(err.Error(), "1.35, 1.36") {
		t.Errorf("%v does not name the minors", err)
	}
	flannel, err := c.CNI("flannel")
	if err != nil {
		t.Fatal(err)
	}
	for minor, want := range map[string]string{"1.16": "v0.15.1", "1.20": "v0.15.1", "1.21": "v0.28.5", "1.36": "v0.28.5", "1.9": ""} {
		if r, _ := flannel.For(minor); r.Version != want {
			t.Errorf("flannel for %s is %q, want %q", minor, r.Version, want)
		}
	}
	if _, err := c.CNI("x"); err == nil || !strings.Contains(err.Error(), "flannel") {
		t.Error(err)
	}
	if _, err := c.Distro("x"); err == nil || !strings.Contains(err.Error(), strings.Join(c.DistroNames(), ", ")) {
		t.Error(err)
	}
	d, err := c.Distro("debian-12")
	if err != nil || len(d.Keys) != 2 || !strings.Contains(d.Keys["debian-12-archive.asc"], "BEGIN PGP PUBLIC KEY") {
		t.Errorf("%v %v", d.Keys, err)
	}
}

func TestPatch(t *testing.T) {
	c := loadEmbedded(t)
	r, err := c.Release("v1.30.5")
	if err != nil {
		t.Fatal(err)
	}
	minor, err := c.Release("1.30")
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != "1.30.5" || minor.Version != "1.30.14" || r.Patches != nil || minor.Patches != nil {
		t.Errorf("versions %s, %s; a Lock would have %d patches", r.Version, minor.Version, len(r.Patches))
	}
	k := r.Components[0]
	want := Remote{
		URL:    "https://dl.k8s.io/v1.30.5/kubernetes-server-linux-arm64.tar.gz",
		Digest: "sha512:" + patchDigest(t, "1.30", "1.30.5", "arm64"),
	}
	if k.Name != "kubernetes" || k.Version != "v1.30.5" || k.Arches["arm64"] != want {
		t.Errorf("%s %s %+v, want %+v", k.Name, k.Version, k.Arches["arm64"], want)
	}
	if minor.Components[0].Version != "v1.30.14" || strings.Contains(minor.Components[0].Arches["arm64"].URL, "1.30.5") {
		t.Error("the release of the minor changed")
	}
	if diff := cmp.Diff(minor.Components[1:], r.Components[1:]); diff != "" {
		t.Errorf("other components differ:\n%s", diff)
	}
	if _, err := c.Release("1.30.99"); err == nil || !strings.Contains(err.Error(), "1.30.9, 1.30.10") {
		t.Errorf("%v does not name the patches, oldest first", err)
	}
}

// patchDigest returns the hex digest in the file of a minor.
func patchDigest(t *testing.T, minor, version, arch string) string {
	t.Helper()
	b, err := embedded.ReadFile("kubernetes/" + minor + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, patch, _ := strings.Cut(string(b), "\n  "+version+":\n")
	_, digest, ok := strings.Cut(patch, arch+": sha512:")
	if !ok {
		t.Fatalf("%s has no digest", version)
	}
	digest, _, _ = strings.Cut(digest, "\n")
	return digest
}

// TestPatchesOfAll: every patch of every minor can be packed, and no address has the
// digest of another.
func TestPatchesOfAll(t *testing.T) {
	c := loadEmbedded(t)
	owner, patches := map[string]string{}, 0
	for _, minor := range c.Versions() {
		for _, v := range minor.PatchVersions() {
			patches++
			r, err := c.Release(v)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, d := range r.Components {
				for _, remote := range d.Arches {
					if was, ok := owner[remote.Digest]; ok && was != remote.URL && remote.Digest != "" {
						t.Errorf("%s has the digest of %s", remote.URL, was)
					}
					owner[remote.Digest] = remote.URL
				}
			}
			if got := slices.Sorted(maps.Keys(r.Components[0].Arches)); !slices.Equal(got, Arches) {
				t.Errorf("%s: %v", v, got)
			}
		}
	}
	if patches < 200 || len(c.Versions()) != 21 {
		t.Errorf("%d patches of %d minors", patches, len(c.Versions()))
	}
}

func TestVersionOrder(t *testing.T) {
	order := []string{"1.9", "1.16", "1.16.0", "1.16.15", "1.36", "1.36.3", "2.0"}
	for i := range order {
		for j := range order {
			v, errV := ParseVersion(order[i])
			w, errW := ParseVersion("v" + order[j])
			if errV != nil || errW != nil {
				t.Fatal(errV, errW)
			}
			if got, want := v.Compare(w), min(1, max(-1, i-j)); got != want {
				t.Errorf("%s against %s: %d, want %d", v, w, got, want)
			}
		}
	}
}

func TestOverlayLeavesSharedEntriesAlone(t *testing.T) {
	before, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := overlay(t, map[string]string{"kubernetes/1.36.yaml": releaseHead +
		"components: [{name: etcd, version: v9, arches: {amd64: {url: 'https://a/b'}}}]\nargs: {kube-controller-manager: {v: 9}}\n"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Versions(), loadEmbedded(t).Versions()); diff != "" {
		t.Error(diff)
	}
}
