package stage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/apiproxy"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// nodeLocal returns the fixture with three control planes with etcd, a worker and the
// proxy on every node.
func nodeLocal(t *testing.T, minor string) Input {
	t.Helper()
	in := testInput(t, minor)
	in.Cluster.LoadBalancer.Mode = manifests.BalanceNodeLocal
	for i := range in.Cluster.Hosts {
		in.Cluster.Hosts[i].Roles = []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}
	}
	worker := manifests.Host{Name: "node-3", Address: "10.0.0.14", Roles: []manifests.Role{manifests.RoleWorker}}
	in.Cluster.Hosts = append(in.Cluster.Hosts, worker)
	in.Facts[worker.Name] = testFacts(worker, "debian", "12")
	return in
}

// Every node runs the proxy before its kubelet starts, and connects to nothing else.
func TestAPIProxyGolden(t *testing.T) {
	var out strings.Builder
	in := nodeLocal(t, "1.36")
	for _, h := range in.Cluster.Hosts {
		items, err := nodeSteps(in, h)
		if err != nil {
			t.Fatal(err)
		}
		at := func(id string) int {
			return slices.IndexFunc(items, func(it step.Item) bool { return it.ID == "node/"+id })
		}
		if proxy, kubelet := at("offk8s-apiproxy-unit"), at("kubelet-unit"); proxy < 0 || proxy > kubelet {
			t.Errorf("%s: the proxy is step %d, the kubelet %d", h.Name, proxy, kubelet)
		}
		for _, it := range items {
			if strings.Contains(it.ID, "apiproxy") || it.ID == "node/kubelet-join" {
				fmt.Fprintf(&out, "%-7s %-40s %s\n", h.Name, it.ID, it.Step.Describe())
			}
		}
	}
	for _, it := range steps(t, in, "node", "node-3") {
		if j, ok := it.Step.(*step.KubeletJoin); ok && j.Server != "https://127.0.0.1:6444" {
			t.Errorf("the kubelet joins at %s", j.Server)
		}
	}
	items := steps(t, in, "node", "node-3")
	for _, id := range []string{"offk8s-apiproxy-config", "offk8s-apiproxy-unit"} {
		writeFile(&out, "node-3", items[id].Step)
	}
	golden(t, "node-local.txt", out.String())
}

// The service accepts the configuration that the plan writes.
func TestAPIProxyConfig(t *testing.T) {
	f := steps(t, nodeLocal(t, "1.16"), "node", "node-3")["offk8s-apiproxy-config"].Step.(*step.File)
	var c apiproxy.Config
	if err := json.Unmarshal([]byte(f.Content), &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if want := []string{"10.0.0.11:6443", "10.0.0.12:6443", "10.0.0.13:6443"}; !slices.Equal(c.Servers, want) {
		t.Errorf("servers %v, want %v", c.Servers, want)
	}
}

// The port of the proxy has to be free on a node, if it has one.
func TestAPIProxyPort(t *testing.T) {
	for _, mode := range []string{manifests.BalanceNodeLocal, manifests.BalanceExternal} {
		in := nodeLocal(t, "1.36")
		in.Cluster.LoadBalancer.Mode, in.Cluster.ControlPlane.Endpoint = mode, "k8s.example.com:6443"
		f := in.Facts["node-3"]
		f.Listening = append(f.Listening, facts.Listener{Protocol: "tcp", Port: 6444})
		in.Facts["node-3"] = f
		refused := slices.ContainsFunc(Failed(preflight(in)), func(c Check) bool {
			return c.Name == "ports" && c.Host == "node-3" && strings.Contains(c.Found, "6444")
		})
		if refused != (mode == manifests.BalanceNodeLocal) {
			t.Errorf("mode %q: port in use is refused: %t", mode, refused)
		}
	}
}
