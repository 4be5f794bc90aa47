package stage

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Whatever cluster.yaml adds to containerd's configuration reads back as it was given.
func TestContainerdConfig(t *testing.T) {
	in := testInput(t, "1.36")
	extra := table{
		"quote": "a\"b\\c\nd", "list": []any{"x", int64(1), true}, "f": 1.5, "n": int64(3),
		"plugins": table{"io.x.y": table{"on": true, "deep": table{"k": "v"}}, "empty": table{}},
	}
	in.Cluster.Runtime.Config = extra
	text, err := containerdConfig(in)
	if err != nil {
		t.Fatal(err)
	}
	var got table
	if err := toml.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if got["version"] != int64(3) || got["plugins"].(table)["io.containerd.cri.v1.images"] == nil {
		t.Errorf("the generated part is missing in:\n%s", text)
	}
	if diff := cmp.Diff(merge(got, extra), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	in.Cluster.Runtime.Config = table{"a": table{"b": []any{nil}}}
	if _, err := containerdConfig(in); err == nil || !strings.Contains(err.Error(), "runtime.config") {
		t.Errorf("a value without a form in TOML: %v", err)
	}
}

func TestMerge(t *testing.T) {
	base := table{"keep": 1, "gone": 2, "map": table{"a": 1, "b": 2}, "list": []any{1, 2}}
	got := merge(base, table{"gone": nil, "map": table{"b": 3, "c": 4}, "list": []any{9}, "new": "x"})
	want := table{"keep": 1, "map": table{"a": 1, "b": 3, "c": 4}, "list": []any{9}, "new": "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if base["gone"] != 2 || base["map"].(table)["b"] != 2 {
		t.Error("merge changed its argument")
	}
}

// Overrides of cluster.yaml reach every configuration and win.
func TestOverrides(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.Runtime = manifests.Runtime{
		CgroupDriver: "cgroupfs",
		Config:       table{"plugins": table{"io.containerd.cri.v1.runtime": table{"restrict_oom_score_adj": true}}},
	}
	in.Cluster.Kubelet = manifests.Component{
		Args:   map[string]string{"v": "4"},
		Config: table{"failCgroupV1": false, "evictionHard": table{"nodefs.available": "1%"}},
	}
	in.Cluster.Proxy.Config = table{"clientConnection": table{"qps": 50}}
	in.Cluster.APIServer.Args = map[string]string{"anonymous-auth": "true"}
	in.Cluster.Time.Args = []string{"-x"}
	content := func(stage, id string) string {
		t.Helper()
		switch s := steps(t, in, stage, "node-1")[id].Step.(type) {
		case *step.File:
			return s.Content
		case *step.Unit:
			return s.Content
		}
		t.Fatalf("no step %s/%s", stage, id)
		return ""
	}
	for _, tt := range []struct{ got, want string }{
		{content("runtime", "config"), "restrict_oom_score_adj = true"},
		{content("runtime", "config"), "SystemdCgroup = false"},
		{content("node", "kubelet-unit"), "--v=4"},
		{content("node", "kubelet-config"), `"failCgroupV1": false`},
		{content("node", "kubelet-config"), `"cgroupDriver": "cgroupfs"`},
		{content("node", "kubelet-config"), `"nodefs.available": "1%"`},
		{content("node", "kube-proxy-config"), `"kubeconfig": "/etc/kubernetes/kube-proxy.conf",` + "\n    \"qps\": 50"},
		{content("time", "options"), `OPTIONS="-x"`},
	} {
		if !strings.Contains(tt.got, tt.want) {
			t.Errorf("no %s in:\n%s", tt.want, tt.got)
		}
	}
	if got := flagsIn(t, in, "controlplane", "cp-1", "kube-apiserver-unit")["anonymous-auth"]; got != "true" {
		t.Errorf("the user's own argument lost: %q", got)
	}
}

// The cluster's DNS passes names on only where every node has a server to pass to.
func TestForward(t *testing.T) {
	corefile := func(in Input) string {
		t.Helper()
		b, err := json.Marshal(steps(t, in, "dns", "cp-1")["coredns"].Step)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	in := testInput(t, "1.36")
	if strings.Contains(corefile(in), "forward .") {
		t.Error("forwards without a name server anywhere: CoreDNS would not start")
	}
	for name, f := range in.Facts {
		f.Resolvers, f.ResolvConf = []string{"10.0.0.53"}, "/run/systemd/resolve/resolv.conf"
		in.Facts[name] = f
	}
	if !strings.Contains(corefile(in), "forward . /etc/resolv.conf") {
		t.Error("does not forward although every node has a name server")
	}
	cfg := steps(t, in, "node", "node-1")["kubelet-config"].Step.(*step.File).Content
	if !strings.Contains(cfg, `"resolvConf": "/run/systemd/resolve/resolv.conf"`) {
		t.Error("pods would get the host's local stub as name server")
	}
}

// Every object that a template gives runs images by digest only.
func TestObjectsRunByDigest(t *testing.T) {
	for _, minor := range []string{"1.16", "1.36"} {
		in := testInput(t, minor)
		for _, p := range []struct{ stage, id string }{{"network", "flannel"}, {"dns", "coredns"}} {
			b, err := json.Marshal(steps(t, in, p.stage, "cp-1")[p.id].Step)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range strings.Split(string(b), `"image":"`)[1:] {
				ref, _, _ := strings.Cut(part, `"`)
				if !strings.Contains(ref, "@sha256:") {
					t.Errorf("%s: image %q is not by digest", minor, ref)
				}
			}
		}
	}
}

func TestRoles(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.Hosts = append(in.Cluster.Hosts, manifests.Host{Name: "etcd-only", Address: "10.0.0.14", Roles: []manifests.Role{manifests.RoleEtcd}})
	for _, stage := range []string{"runtime", "images", "controlplane", "node", "join", "network", "dns", "smoke"} {
		if s := steps(t, in, stage, "etcd-only"); len(s) > 0 {
			t.Errorf("an etcd host has %d steps in stage %q", len(s), stage)
		}
	}
	for id := range steps(t, in, "pki", "etcd-only") {
		if strings.Contains(id, "kubernetes") {
			t.Errorf("an etcd host gets %q", id)
		}
	}
	for id := range steps(t, in, "pki", "node-1") {
		if strings.Contains(id, "ca.key") || strings.Contains(id, "apiserver") || strings.Contains(id, "admin") {
			t.Errorf("a worker gets %q", id)
		}
	}
	if _, ok := steps(t, in, "host", "etcd-only")["swap"]; ok {
		t.Error("an etcd host loses its swap")
	}
}

func TestSkip(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.HostPrep.Skip = []string{"hostname", "hosts", "swap", "modules", "sysctl", "firewall", "selinux", "managers"}
	for id := range steps(t, in, "host", "cp-1") {
		if !strings.HasPrefix(id, "mirror") {
			t.Errorf("step %q is not skipped", id)
		}
	}
	if _, ok := steps(t, in, "runtime", "cp-1")["selinux"]; ok {
		t.Error("selinux is not skipped")
	}
}

// Hosts know several mirrors in the order of cluster.yaml, and one that answers is enough.
func TestSeveralMirrors(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.Mirror.URL, in.Cluster.Mirror.URLs = "", []string{"https://10.0.0.3:8443", "https://10.0.0.4:8443/"}
	host := steps(t, in, "host", "cp-1")
	if got := host["mirror-list"].Step.(*step.File); got.Path != aptList || !strings.HasPrefix(got.Content, "https://10.0.0.3:8443/apt/debian-12/\tpriority:1\nhttps://10.0.0.4:8443/apt/") {
		t.Errorf("%+v", got)
	}
	if apt := host["mirror-source"].Step.(*step.File).Content; !strings.Contains(apt, "URIs: mirror+file:"+aptList+"\n") {
		t.Error(apt)
	}
	wait := host["mirror-reachable"].Step.(*step.Wait)
	if wait.URL != "https://10.0.0.3:8443/healthz" || !slices.Equal(wait.Or, []string{"https://10.0.0.4:8443/healthz"}) {
		t.Errorf("%+v", wait)
	}
	hosts := steps(t, in, "runtime", "cp-1")["registry-registry.k8s.io"].Step.(*step.File).Content
	if strings.Count(hosts, "[host.") != 2 {
		t.Error(hosts)
	}
	in = dockerInput(t)
	in.Cluster.Mirror.URL, in.Cluster.Mirror.URLs = "", []string{"https://10.0.0.3:8443", "https://10.0.0.4:8443/"}
	if got := steps(t, in, "runtime", "cp-1")["mirror-ca-2"]; got.Step == nil || got.Step.(*step.File).Path != "/etc/docker/certs.d/10.0.0.4:8443/ca.crt" {
		t.Errorf("%+v", got)
	}
}

// Package sources check signatures, and only our repository is used.
func TestT36Sources(t *testing.T) {
	in := testInput(t, "1.36")
	repo := steps(t, in, "host", "node-1")["mirror-source"].Step.(*step.File).Content
	for _, want := range []string{
		"\ngpgcheck=1\n", "\nrepo_gpgcheck=1\n", "\nsslverify=1\n", "\nsslcacert=" + mirrorCA + "\n",
		"baseurl=https://10.0.0.3:8443/yum/rocky-9/x86_64\n", "gpgkey=file://" + bundleKey + "\n       file://" + keyDir + "/",
	} {
		if !strings.Contains(repo, want) {
			t.Errorf("no %q in:\n%s", want, repo)
		}
	}
	apt := steps(t, in, "host", "cp-1")["mirror-source"].Step.(*step.File).Content
	if !strings.Contains(apt, "Signed-By: "+bundleKey) || strings.Contains(strings.ToLower(apt), "trusted") {
		t.Errorf("apt source:\n%s", apt)
	}
	hosts := steps(t, in, "runtime", "cp-1")["registry-registry.k8s.io"].Step.(*step.File).Content
	if !strings.Contains(hosts, `ca = "`+mirrorCA+`"`) || strings.Contains(hosts, "skip_verify") {
		t.Errorf("hosts.toml:\n%s", hosts)
	}
}
