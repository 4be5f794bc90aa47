package stage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// shaped returns the fixture with other hosts, given as "roles" in the order of their
// addresses, each with facts.
func shaped(t *testing.T, minor string, hosts ...string) Input {
	t.Helper()
	in := testInput(t, minor)
	in.Cluster.APIVersion, in.Cluster.Kind = manifests.APIVersion, manifests.KindCluster
	in.Cluster.Hosts, in.Facts = nil, map[string]facts.Facts{}
	for i, roles := range hosts {
		h := manifests.Host{Name: fmt.Sprintf("h%d", i+1), Address: fmt.Sprintf("10.0.0.%d", i+11)}
		for r := range strings.SplitSeq(roles, " ") {
			h.Roles = append(h.Roles, manifests.Role(r))
		}
		in.Cluster.Hosts = append(in.Cluster.Hosts, h)
		in.Facts[h.Name] = testFacts(h, "debian", "12")
	}
	if bad := in.Cluster.Validate(); len(bad) > 0 {
		t.Fatal(bad)
	}
	if bad := Failed(append(preflight(in), completeness(in)...)); len(bad) > 0 {
		t.Fatal(bad)
	}
	return in
}

// unitsOf returns the units that the stages write on a host, sorted.
func unitsOf(t *testing.T, in Input, h manifests.Host) []string {
	t.Helper()
	var out []string
	for it := range plan(t, in) {
		if u, ok := it.Step.(*step.Unit); ok && u.Content != "" && it.host.Name == h.Name {
			out = append(out, strings.TrimSuffix(u.Name, ".service"))
		}
	}
	slices.Sort(out)
	return out
}

// One control plane, with etcd on it or apart, and all in one: every host runs the units of
// its roles, the API server knows all members, and only a control plane that is no worker
// keeps pods away.
func TestOneControlPlane(t *testing.T) {
	for name, hosts := range map[string][]string{
		"all in one":          {"control-plane etcd worker"},
		"etcd together":       {"control-plane etcd", "worker"},
		"etcd apart":          {"control-plane", "etcd", "worker"},
		"three members apart": {"control-plane", "etcd", "etcd", "etcd", "worker"},
		"five members apart":  {"control-plane", "etcd", "etcd", "etcd", "etcd", "etcd", "worker"},
		"three of all":        {"control-plane etcd", "etcd worker", "etcd worker"},
	} {
		for _, minor := range []string{"1.16", "1.36"} {
			t.Run(name+" "+minor, func(t *testing.T) { checkShape(t, shaped(t, minor, hosts...), minor) })
		}
	}
}

func checkShape(t *testing.T, in Input, minor string) {
	var urls, peers []string
	for _, h := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		urls = append(urls, "https://"+h.Address+":2379")
		peers = append(peers, h.Name+"=https://"+h.Address+":2380")
	}
	taint := map[string]string{
		"1.16": "node-role.kubernetes.io/master=:NoSchedule", "1.36": "node-role.kubernetes.io/control-plane=:NoSchedule",
	}[minor]
	for _, h := range in.Cluster.Hosts {
		if got, want := unitsOf(t, in, h), slices.Sorted(slices.Values(Units(in.Cluster, h))); !slices.Equal(got, want) {
			t.Errorf("%s (%v): units %v, want %v", h.Name, h.Roles, got, want)
		}
		want := ""
		if h.HasRole(manifests.RoleControlPlane) && !h.HasRole(manifests.RoleWorker) {
			want = taint
		}
		if h.IsNode() {
			if got := flagsIn(t, in, "node", h.Name, "kubelet-unit")["register-with-taints"]; got != want {
				t.Errorf("%s: taints %q, want %q", h.Name, got, want)
			}
		}
		if h.HasRole(manifests.RoleEtcd) {
			if got := steps(t, in, "etcd", h.Name)["data"].Step.(*step.EtcdData).Initial; !slices.Equal(got, peers) {
				t.Errorf("%s: members %v, want %v", h.Name, got, peers)
			}
		}
	}
	if got := flagsIn(t, in, "controlplane", "h1", "kube-apiserver-unit")["etcd-servers"]; got != strings.Join(urls, ",") {
		t.Errorf("API server connects to %s, want %v", got, urls)
	}
}
