package stage

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// addonInput is testInput on a pod network, with all addons of the catalog and one of the
// user.
func addonInput(t *testing.T, minor, network string) Input {
	t.Helper()
	in := testInput(t, minor)
	cat := embedded(t)
	in.Lock = testLock(t, cat, minor, network)
	for _, name := range cat.AddonNames() {
		a, err := cat.Addon(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.For(minor)
		if name == "spegel" && in.Lock.Release.Features.ContainerdConfig < 3 {
			if err == nil || !strings.Contains(err.Error(), "only for 1.33 to the newest") {
				t.Errorf("%s has a containerd that is too old for Spegel: %v", minor, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		in.Lock.Addons = append(in.Lock.Addons, manifests.Addon{Name: name, Release: r})
		for _, i := range r.Images {
			in.Lock.Artifacts = append(in.Lock.Artifacts, manifests.Artifact{
				Kind: manifests.KindImage, Name: i.Ref, Blob: manifests.Descriptor{Digest: digest.FromString(i.Ref)},
			})
		}
	}
	in.Lock.Addons = append(in.Lock.Addons, manifests.Addon{Name: "shop", Release: catalog.AddonRelease{
		Literal: true, Images: map[string]catalog.Image{"nginx:1": {Ref: "nginx:1"}},
		Objects: "---\n" + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"default"},"data":{"a":"{{.Not}} a template"}}` + "\n",
	}})
	return in
}

// The addons of every minor have versions, and name their images by digest.
func TestAddons(t *testing.T) {
	for _, minor := range []string{"1.16", "1.36"} {
		in := addonInput(t, minor, "flannel")
		got := steps(t, in, "addons", "cp-1")
		for _, a := range in.Lock.Addons {
			apply, ok := got[a.Name].Step.(*kube.Apply)
			if !ok || len(apply.Objects) == 0 {
				t.Fatalf("%s: addon %s is not applied", minor, a.Name)
			}
			all, err := json.Marshal(apply.Objects)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range a.Release.Images {
				if !a.Release.Literal && !strings.Contains(string(all), step.ImageRef(i.Ref, digest.FromString(i.Ref))) {
					t.Errorf("%s %s: image %s is not there by digest", minor, a.Name, i.Ref)
				}
			}
		}
		if _, ok := got["metrics-server-pods"].Step.(*kube.Rollout); !ok {
			t.Errorf("%s: nobody waits for metrics-server", minor)
		}
		if s := got["shop"].Step.(*kube.Apply); !strings.Contains(string(s.Objects[0]), "{{.Not}}") {
			t.Errorf("the user's object was changed: %s", s.Objects[0])
		}
		if !slices.ContainsFunc(in.Lock.Addons, func(a manifests.Addon) bool { return a.Name == "metrics-server" }) {
			t.Error("no metrics-server")
		}
	}
}

// The DNS cache takes over the address of the cluster DNS where that is possible; otherwise pods ask it
// at its own.
func TestNodeLocalDNS(t *testing.T) {
	for mode, want := range map[string][2]string{
		"iptables": {"bind 169.254.20.10 10.96.0.10\\n", `"clusterDNS": [
    "10.96.0.10"
  ]`},
		"ipvs": {"bind 169.254.20.10\\n", `"clusterDNS": [
    "169.254.20.10"
  ]`},
	} {
		in := addonInput(t, "1.36", "flannel")
		in.Cluster.Network.ProxyMode = mode
		objects, err := json.Marshal(steps(t, in, "addons", "cp-1")["node-local-dns"].Step.(*kube.Apply).Objects)
		if err != nil || !strings.Contains(string(objects), want[0]) {
			t.Errorf("%s: %v, no %s in %s", mode, err, want[0], objects)
		}
		if conf := steps(t, in, "node", "node-1")["kubelet-config"].Step.(*step.File).Content; !strings.Contains(conf, want[1]) {
			t.Errorf("%s: %s", mode, conf)
		}
		in.Cluster.Addons = []string{}
		if conf := steps(t, in, "node", "node-1")["kubelet-config"].Step.(*step.File).Content; strings.Contains(conf, "169.254.20.10") {
			t.Errorf("%s: the kubelet names a cache that is not there", mode)
		}
	}
	c := steps(t, addonInput(t, "1.36", "flannel"), "runtime", "node-1")["cleanup"].Step.(*step.Cleanup)
	if !slices.Contains(c.Interfaces, "nodelocaldns") || !slices.Contains(c.RuleComments, "NodeLocal") {
		t.Errorf("reset leaves the cache: %+v", c)
	}
}

// With Spegel, containerd asks the node itself first, and only for digests; every registry of the bundle has the mirror
// after it. Without the addon nothing of it stays.
func TestSpegel(t *testing.T) {
	in := addonInput(t, "1.36", "flannel")
	with := steps(t, in, "runtime", "node-1")
	in.Cluster.Addons = []string{"metrics-server"}
	without := steps(t, in, "runtime", "node-1")
	seen := 0
	for name, item := range with {
		if !strings.HasPrefix(name, "registry-") {
			continue
		}
		seen++
		file, plain := item.Step.(*step.File), without[name].Step.(*step.File)
		peer := "\n[host.\"http://10.0.0.12:30020\"]\ncapabilities = [\"pull\"]\ndial_timeout = \"200ms\"\n"
		if before, after, ok := strings.Cut(file.Content, peer); !ok || strings.Contains(before, "[host.") || before+after != plain.Content {
			t.Errorf("%s: not the peer and then what is there without it:\n%s\n%s", file.Path, file.Content, plain.Content)
		}
	}
	if seen < 2 || len(with) != len(without) {
		t.Errorf("%d registries, %d steps with Spegel and %d without", seen, len(with), len(without))
	}
	objects, err := json.Marshal(steps(t, addonInput(t, "1.36", "flannel"), "addons", "cp-1")["spegel"].Step.(*kube.Apply).Objects)
	if err != nil || strings.Contains(string(objects), "certs.d") || strings.Contains(string(objects), `"/var/lib/spegel","type"`) ||
		!strings.Contains(string(objects), "--dns-bootstrap-domain=spegel-bootstrap.kube-system.svc.cluster.local.") {
		t.Errorf("Spegel writes to hosts, or finds no peers: %v %s", err, objects)
	}
}

// cluster.yaml chooses among the addons of the bundle.
func TestAddonsOfCluster(t *testing.T) {
	in := addonInput(t, "1.36", "flannel")
	in.Cluster.Addons = []string{}
	if got := steps(t, in, "addons", "cp-1"); len(got) > 0 {
		t.Errorf("no addons wanted, got %v", got)
	}
	if got := steps(t, in, "images", "node-1"); len(got) != len(steps(t, testInput(t, "1.36"), "images", "node-1")) {
		t.Error("images of addons are pulled that the cluster does not have")
	}
	in.Cluster.Addons = []string{"shop", "gone"}
	if got := steps(t, in, "addons", "cp-1"); len(got) != 1 || got["shop"].Step == nil {
		t.Errorf("got %v", got)
	}
	failed := ""
	for _, c := range preflight(in) {
		if c.Name == "addons" && c.Verdict == Fail {
			failed = c.Found
		}
	}
	if !strings.Contains(failed, "gone") || strings.Contains(failed, "shop") {
		t.Errorf("preflight: %q", failed)
	}
}
