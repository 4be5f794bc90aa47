package catalog

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// overlay writes files by path and merges them over the embedded catalog.
func overlay(t *testing.T, files map[string]string) (*Catalog, error) {
	t.Helper()
	dir := t.TempDir()
	for p, text := range files {
		p = filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := loadEmbedded(t)
	err := c.Overlay(dir)
	if err != nil {
		if !reflect.DeepEqual(loadEmbedded(t), c) {
			t.Errorf("the catalog changed in spite of %v", err)
		}
	}
	return c, err
}

const releaseHead = "apiVersion: offk8s.dev/v1\nkind: Release\n"

func TestOverlayMerges(t *testing.T) {
	digest := "sha256:" + strings.Repeat("1", 64)
	c, err := overlay(t, map[string]string{
		"README.md": "ours",
		"kubernetes/1.36.yaml": releaseHead + `
components:
  - name: etcd
    version: v3.6.16
    arches:
      amd64: {url: "https://files.example/etcd-v3.6.16-linux-amd64.tar.gz", digest: "` + digest + `"}
    members: ["etcd-v3.6.16-linux-{arch}/etcd"]
  - name: nerdctl
    version: 1
    arches: {amd64: {url: "https://files.example/nerdctl"}}
images:
  pause: {digest: "` + digest + `"}
  extra: {ref: "registry.example/extra:1"}
args:
  kubelet: {v: "4"}
  kube-controller-manager: {cluster-signing-duration: ~}
kubeletConfig: {failCgroupV1: false}
`,
		"distro/rocky-9.yaml": `apiVersion: offk8s.dev/v1
kind: Distro
yum:
  - {id: rocky9-baseos, keyFiles: [lab.asc]}
packages: [chrony]
`,
		"keys/lab.asc": "-----BEGIN PGP PUBLIC KEY BLOCK-----",
		"cni/flannel/cni.yaml": `apiVersion: offk8s.dev/v1
kind: CNI
releases:
  - from: "1.21"
    version: v0.15.1
    images: {flannel: {ref: "registry.example/flannel:v0.15.1", digest: ~}}
    template: ours.yaml
`,
		"cni/flannel/ours.yaml": "image: {{.Images.flannel}} {{.Images.plugin}}",
		"dns/coredns.yaml":      "{{.DNSAddress}}",
	})
	if err != nil {
		t.Fatal(err)
	}
	base, _ := loadEmbedded(t).Release("1.36")
	want := base
	want.Components = append([]Download(nil), base.Components...)
	etcd := &want.Components[1]
	arm := etcd.Arches["arm64"]
	*etcd = Download{
		Name: "etcd", Version: "v3.6.16", Members: []string{"etcd-v3.6.16-linux-{arch}/etcd"},
		Arches: map[string]Remote{"amd64": {"https://files.example/etcd-v3.6.16-linux-amd64.tar.gz", digest}, "arm64": arm},
	}
	want.Components = append(want.Components, Download{Name: "nerdctl", Version: "1", Arches: map[string]Remote{"amd64": {URL: "https://files.example/nerdctl"}}})
	want.Images = map[string]Image{
		"pause": {base.Images["pause"].Ref, digest}, "coredns": base.Images["coredns"], "extra": {Ref: "registry.example/extra:1"},
	}
	four := "4"
	want.Args = map[string]map[string]*string{
		"etcd": base.Args["etcd"], "kube-apiserver": base.Args["kube-apiserver"], "kubelet": {"v": &four}, "kube-controller-manager": {"cluster-signing-duration": nil},
	}
	want.KubeletConfig = map[string]any{"failCgroupV1": false, "seccompDefault": true}
	want.DNSTemplate = "{{.DNSAddress}}"
	got, err := c.Release("1.36")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	rocky, _ := c.Distro("rocky-9")
	if rocky.Yum[0].KeyFiles[0] != "lab.asc" || rocky.Yum[0].BaseURL == "" || rocky.Keys["lab.asc"] == "" || len(rocky.Yum) != 2 || len(rocky.Packages) != 1 {
		t.Errorf("rocky-9: %+v", rocky)
	}
	flannel, _ := c.CNI("flannel")
	n, _ := flannel.For("1.36")
	if n.Version != "v0.15.1" || n.Objects != "image: {{.Images.flannel}} {{.Images.plugin}}" || n.Images["plugin"].Ref == "" || len(n.Interfaces) != 3 {
		t.Errorf("flannel: %+v", n)
	}
}

func TestOverlayAdds(t *testing.T) {
	b, err := embedded.ReadFile("kubernetes/1.36.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), "1.36", "1.37")
	c, err := overlay(t, map[string]string{"kubernetes/1.37.yaml": text})
	if err != nil {
		t.Fatal(err)
	}
	like, err := c.Release("1.36")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Release("1.37"); err != nil || r.Version != strings.Replace(like.Version, "1.36", "1.37", 1) {
		t.Errorf("%q %v", r.Version, err)
	}
	_, err = overlay(t, map[string]string{"kubernetes/1.37.yaml": strings.Replace(text, "  metadataRoute: false\n", "", 1)})
	if err == nil || !strings.Contains(err.Error(), "features.metadataRoute: missing") {
		t.Errorf("a new release without a feature: %v", err)
	}
}

func TestOverlayRefuses(t *testing.T) {
	tests := []struct{ name, file, text, want string }{
		{"unknown field", "kubernetes/1.36.yaml", releaseHead + "imags: {}\n", `kubernetes/1.36.yaml:3:1: imags: unknown field (did you mean "images"?)`},
		{"unknown field of a component", "kubernetes/1.36.yaml", releaseHead + "components:\n  - name: etcd\n    ver: 1\n", "1.36.yaml:5:5: components[etcd].ver: unknown field"},
		{"bad digest", "kubernetes/1.36.yaml", releaseHead + "components:\n  - name: etcd\n    arches:\n      amd64: {digest: sha256:12}\n", "1.36.yaml:6:23: components[etcd].arches.amd64.digest"},
		{"component twice", "kubernetes/1.37.yaml", releaseHead + "components: [{name: a}, {name: a}]\n", "components[a]: duplicate"},
		{"http without digest", "kubernetes/1.36.yaml", releaseHead + "components: [{name: x, version: 1, arches: {amd64: {url: 'http://a/b'}}}]\n", "https, or http with a digest"},
		{"moved image", "kubernetes/1.16.yaml", releaseHead + "images: {pause: {ref: 'registry.example/pause:9'}}\n", `1.16.yaml:3:23: images.pause.ref: the digest in the catalog belongs to "registry.k8s.io/pause:3.1"`},
		{"short image", "kubernetes/1.36.yaml", releaseHead + "images: {pause: {ref: pause, digest: ~}}\n", "not a full image reference"},
		{"patch of another minor", "kubernetes/1.36.yaml", releaseHead + "patches: {1.35.1: {amd64: 'sha512:00'}}\n", "want a full version of 1.36"},
		{"patch without digest", "kubernetes/1.36.yaml", releaseHead + "patches: {1.36.9: {amd64: ~}}\n", "1.36.yaml:3:"},
		{"containerd without the kubelet's CRI", "kubernetes/1.16.yaml", releaseHead + "components: [{name: containerd, version: v2.2.7}]\n", `1.16.yaml:3:42: components[containerd].version: v2.2.7 has no CRI v1alpha2`},
		{"other minor", "kubernetes/1.36.yaml", releaseHead + "minor: 1.35\n", `minor: found "1.35" in the file of 1.36`},
		{"no head", "kubernetes/1.36.yaml", "endOfLife: 2030-01-01\n", `apiVersion: found "offk8s.dev/v1"`},
		{"hostile flag", "kubernetes/1.36.yaml", releaseHead + "args: {kubelet: {v: \"2\\nExecStart=x\"}}\n", "one line"},
		{"flag of nobody", "kubernetes/1.36.yaml", releaseHead + "args: {kubelt: {v: 2}}\n", `found "kubelt"`},
		{"member outside", "kubernetes/1.36.yaml", releaseHead + "components: [{name: etcd, members: [../etcd]}]\n", "plain relative path"},
		{"unknown key file", "distro/rocky-9.yaml", "apiVersion: offk8s.dev/v1\nkind: Distro\nyum: [{id: rocky9-baseos, keyFiles: [x.asc]}]\n", "keys/x.asc is not in the catalog"},
		{"shared folder", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', files: [/etc]}]\n", "two levels"},
		{"network that is always ready", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', ready: [subnet.env]}]\n", "ready[0]"},
		{"chain of the kernel", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', chains: [INPUT]}]\n", `chains[0]: found "INPUT"`},
		{"comment with a quote", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', ruleComments: ['a\"b']}]\n", "ruleComments[0]: found"},
		{"module with an option", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', modules: ['-r']}]\n", "modules[0]: found"},
		{"setting of two lines", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', sysctls: {a.b: \"1\\n2\"}}]\n", "one line"},
		{"option that can be anything", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\noptions: {mode: {type: string, about: x}}\n", "want values for a string"},
		{"option of a type", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\noptions: {mode: {type: list, about: x}}\n", `options.mode.type: found "list"`},
		{"default that is no value", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\noptions: {backend: {default: udp}}\n", "options.backend.default: found udp, want one of vxlan, host-gw"},
		{"port of no option", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', ports: ['{{.prot}}/udp']}]\n", "prot"},
		{"port that an option makes wrong", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', ports: ['{{.backend}}/udp']}]\n", "ports[0]: found"},
		{"protocol", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', protocols: ['4']}]\n", `protocols[0]: found "4"`},
		{"all interfaces", "cni/flannel/cni.yaml", "apiVersion: offk8s.dev/v1\nkind: CNI\nreleases: [{from: '1.21', interfaces: ['*']}]\n", "interfaces[0]: found"},
		{"template with a slip", "cni/flannel/flannel.yaml", "{{.Images.nobody}}", "not a template of objects"},
		{"dns template with a slip", "dns/coredns.yaml", "{{.Nobody}}", "not a template of objects"},
		{"file without a place", "kubernetes/1.36.yml", "", "no catalog entry has this place"},
		{"syntax", "kubernetes/1.36.yaml", "a: [", "not YAML"},
		{"distribution of nobody", "kubernetes/1.36.yaml", releaseHead + "defaults: {distros: [plan-9]}\n", `distribution "plan-9" is not in the catalog`},
		{"architecture that is not there", "kubernetes/1.16.yaml", releaseHead + "defaults: {arches: [arm64]}\n", `"centos-7" has no arm64`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := overlay(t, map[string]string{tt.file: tt.text}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %q", err, tt.want)
			}
		})
	}
	c := loadEmbedded(t)
	if err := c.Overlay(filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("a folder that is not there was merged")
	}
}
