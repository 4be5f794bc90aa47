package stage

import (
	"flag"
	"iter"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

var update = flag.Bool("update", false, "rewrite goldens")

// testInput is a three-host cluster over the embedded catalog's release: one
// control plane with etcd, two workers with etcd, one of them of the RPM family.
func testInput(t *testing.T, minor string) Input {
	t.Helper()
	in := Input{
		Cluster: &manifests.Cluster{
			Name:   "test",
			Mirror: manifests.ClusterMirror{URL: "https://10.0.0.3:8443/"},
			Hosts: []manifests.Host{
				{Name: "cp-1", Address: "10.0.0.11", Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}},
				{
					Name: "node-1", Address: "10.0.0.12", Roles: []manifests.Role{manifests.RoleEtcd, manifests.RoleWorker},
					Labels: map[string]string{"zone": "a"}, Taints: []string{"gpu:NoExecute"},
				},
				{Name: "node-2", Address: "10.0.0.13", Roles: []manifests.Role{manifests.RoleEtcd, manifests.RoleWorker}},
			},
		},
		Lock:     testLock(t, embedded(t), minor, "flannel"),
		Root:     digest.FromString("root"),
		MirrorCA: []byte("-----BEGIN CERTIFICATE-----\nmirror\n-----END CERTIFICATE-----\n"), OpenPGPKey: []byte("openpgp key\n"),
		Facts: map[string]facts.Facts{},
	}
	for _, h := range in.Cluster.Hosts {
		in.Facts[h.Name] = testFacts(h, "debian", "12")
	}
	in.Facts["node-1"] = testFacts(in.Cluster.Hosts[1], "rocky", "9.4")
	if slices.Contains(in.Lock.Distros, "centos-7") {
		in.Facts["node-1"] = testFacts(in.Cluster.Hosts[1], "centos", "7")
	}
	return in
}

func testFacts(h manifests.Host, id, version string) facts.Facts {
	return facts.Facts{
		OS: catalog.OSRelease{ID: id, Version: version, Name: id + " " + version}, Arch: "amd64", Kernel: "6.1.0", CPUs: 4,
		MemoryBytes: 8 << 30, Systemd: 252, Cgroups: []int{1, 2},
		Disks:         []facts.Disk{{Path: "/var/lib", FreeBytes: 100 << 30}, {Path: "/usr/local/bin", FreeBytes: 100 << 30}},
		Addresses:     []facts.Address{{Interface: "eth0", Prefix: netip.MustParsePrefix(h.Address + "/24"), MTU: 1500}},
		DefaultRoutes: []facts.Route{{Interface: "eth0", Gateway: netip.MustParseAddr("10.0.0.1")}},
	}
}

// loadEmbedded reads the catalog once for all tests, which change nothing in it.
var loadEmbedded = sync.OnceValues(catalog.Embedded)

// embedded returns the catalog of the program.
func embedded(t *testing.T) *catalog.Catalog {
	t.Helper()
	cat, err := loadEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// testLock resolves the release of cat by hand, with digests of names instead of contents.
func testLock(t *testing.T, cat *catalog.Catalog, minor, network string) *manifests.Lock {
	t.Helper()
	release, err := cat.Release(minor)
	if err != nil {
		t.Fatal(err)
	}
	cni, err := cat.CNI(network)
	if err != nil {
		t.Fatal(err)
	}
	cniRelease, err := cni.For(minor)
	if err != nil {
		t.Fatal(err)
	}
	l := &manifests.Lock{
		Name: "kubernetes-" + minor, Kubernetes: release.Version, Minor: minor, Arches: []string{"amd64"},
		Distros: append([]string{"debian-12"}, release.Defaults.Distros...), CNI: cni.Name, Runtime: "containerd",
		Release: release, CNIRelease: cniRelease, DistroData: map[string]catalog.Distro{},
	}
	for _, name := range l.Distros {
		d, err := cat.Distro(name)
		if err != nil {
			t.Fatal(err)
		}
		d.Keys = maps.Clone(d.Keys)
		for k := range d.Keys {
			d.Keys[k] = "key of " + name + "\n"
		}
		l.DistroData[name] = d
		for _, n := range d.AllPackages() {
			l.Artifacts = append(l.Artifacts, manifests.Artifact{Kind: manifests.KindDeb, Name: n, Distro: name, Platform: "linux/amd64"})
		}
	}
	for _, c := range release.Components {
		members := c.Members
		if len(members) == 0 {
			members = []string{c.Name}
		}
		for _, m := range members {
			name := path.Base(m)
			l.Artifacts = append(l.Artifacts, manifests.Artifact{
				Kind: manifests.KindFile, Name: name, Version: c.Version, Platform: "linux/amd64", Group: "files",
				Path: c.Name + "/" + name, Mode: 0o755, Plain: manifests.Descriptor{Digest: digest.FromString(name + c.Version)},
			})
		}
	}
	l.Artifacts = append(l.Artifacts, manifests.Artifact{
		Kind: manifests.KindFile, Name: "offk8s", Version: "test", Platform: "linux/amd64", Group: "files",
		Path: "offk8s/test/amd64/offk8s", Mode: 0o755, Plain: manifests.Descriptor{Digest: digest.FromString("offk8s")},
	})
	images := []string{"offk8s.dev/smoke:test"}
	for _, m := range []map[string]catalog.Image{release.Images, cniRelease.Images} {
		for _, i := range m {
			images = append(images, i.Ref)
		}
	}
	for _, ref := range images {
		l.Artifacts = append(l.Artifacts, manifests.Artifact{
			Kind: manifests.KindImage, Name: ref, Blob: manifests.Descriptor{Digest: digest.FromString(ref)},
		})
	}
	return l
}

// bothArches adds the files of arm64 to a Lock.
func bothArches(l *manifests.Lock) {
	l.Arches = append(l.Arches, "arm64")
	for _, a := range l.Artifacts {
		if a.Kind == manifests.KindFile && a.Platform == "linux/amd64" {
			a.Platform, a.Path = "linux/arm64", "arm64/"+a.Path
			a.Plain.Digest = digest.FromString("arm64 " + a.Name + a.Version)
			l.Artifacts = append(l.Artifacts, a)
		}
	}
}

// planned is a step with its stage and host.
type planned struct {
	step.Item
	stage string
	host  manifests.Host
}

// plan yields the steps of an installation, by stage and then by host.
func plan(t *testing.T, in Input) iter.Seq[planned] {
	t.Helper()
	return func(yield func(planned) bool) {
		for _, s := range Install().Stages {
			if s.Steps == nil {
				continue
			}
			for _, h := range in.Cluster.Hosts {
				if s.Hosts != nil && !slices.ContainsFunc(s.Hosts(in), func(x manifests.Host) bool { return x.Name == h.Name }) {
					continue
				}
				items, err := s.Steps(in, h)
				if err != nil {
					t.Fatalf("stage %q: host %q: %v", s.Name, h.Name, err)
				}
				for _, it := range items {
					if !yield(planned{it, s.Name, h}) {
						return
					}
				}
			}
		}
	}
}

// steps returns the steps of one stage on one host by id without the stage.
func steps(t *testing.T, in Input, stage, host string) map[string]step.Item {
	t.Helper()
	out := map[string]step.Item{}
	i := slices.IndexFunc(Install().Stages, func(s Stage) bool { return s.Name == stage })
	items, err := Install().Stages[i].Steps(in, in.byName()[host])
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		out[strings.TrimPrefix(it.ID, stage+"/")] = it
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test -update rewrites it):\n%s", file, diff)
	}
}
