package stage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// onNetwork returns the test cluster with another network of the catalog.
func onNetwork(t *testing.T, name string) Input {
	t.Helper()
	in := testInput(t, "1.36")
	in.Lock = testLock(t, embedded(t), "1.36", name)
	return in
}

// Each network of the catalog has its changes of hosts and cluster in the golden.
func TestNetworksGolden(t *testing.T) {
	var b strings.Builder
	for _, name := range embedded(t).CNINames() {
		in := onNetwork(t, name)
		f := in.Facts["node-2"]
		f.NetworkManager = true
		in.Facts["node-2"] = f
		if in.Lock.CNIRelease.Policies {
			in.Cluster.Network.Isolation = manifests.IsolateNamespaces
		}
		fmt.Fprintf(&b, "== %s\n", name)
		for it := range plan(t, in) {
			on := map[string]string{"network": "cp-1", "smoke": "cp-1"}[it.stage]
			if slices.Contains([]string{"host", "packages", "runtime", "node", "nodenetwork"}, it.stage) {
				on = "node-2"
			}
			if it.host.Name != on {
				continue
			}
			switch s := it.Step.(type) {
			case *step.Cleanup, *kube.Smoke:
				spec, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s %s\n", it.ID, spec)
			case *step.Modules, *step.Firewall, *step.Packages, *step.Unit, *step.Present, *kube.Apply:
				fmt.Fprintf(&b, "%s %s\n", it.ID, s.Describe())
			case *step.File:
				if it.ID == "host/unmanaged" {
					fmt.Fprintf(&b, "%s %q\n", it.ID, s.Content)
				}
			}
		}
		// None of the templates is left out.
		apply := steps(t, in, "network", "cp-1")[name].Step.(*kube.Apply)
		text, err := renderText(in, in.Lock.CNIRelease.Objects, in.Lock.CNIRelease.Images)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Count(text, "\nkind: "); len(apply.Objects) != want {
			t.Errorf("%s: %d objects, want %d", name, len(apply.Objects), want)
		}
		fmt.Fprintln(&b, "approver", steps(t, in, "controlplane", "cp-1")[approverName+"-config"].Step.(*step.File).Content)
	}
	golden(t, "networks.txt", b.String())
}

// A network that is the proxy of services leaves kube-proxy out: its program, its unit,
// its port and its mode.
func TestNoKubeProxy(t *testing.T) {
	in := onNetwork(t, "kube-router")
	for id, it := range steps(t, in, "node", "node-2") {
		if strings.Contains(id+it.Step.Describe(), "kube-proxy") {
			t.Errorf("step %s: %s", id, it.Step.Describe())
		}
	}
	if ports := steps(t, in, "host", "node-2")["firewall-hosts"].Step.(*step.Firewall); slices.Contains(ports.Ports, "10256/tcp") || !slices.Contains(ports.Ports, "179/tcp") || !slices.Equal(ports.Protocols, []string{"ipip"}) {
		t.Errorf("firewall %s", ports.Describe())
	}
	in.Cluster.Network.ProxyMode = manifests.ProxyIPVS
	if p := in.Cluster.CheckNetwork(in.Lock); len(p) != 1 || !strings.Contains(p[0].Message, "there is no kube-proxy with the pod network kube-router") {
		t.Errorf("mode of no kube-proxy: %v", p)
	}
	objects := fmt.Sprintf("%s", steps(t, in, "network", "cp-1")["kube-router"].Step.(*kube.Apply).Objects)
	for _, want := range []string{"--master=https://10.0.0.11:6443", "--service-cluster-ip-range=10.96.0.0/16", "--service-node-port-range=30000-32767"} {
		if !strings.Contains(objects, want) {
			t.Errorf("no %s in %s", want, objects)
		}
	}
}

// With the option kubeProxy, kube-router leaves services to kube-proxy in any of its modes.
func TestKeepsKubeProxy(t *testing.T) {
	in := onNetwork(t, "kube-router")
	in.Cluster.Network.Options = map[string]any{"kubeProxy": true}
	in.Cluster.Network.ProxyMode = manifests.ProxyNFTables
	if p := in.Cluster.CheckNetwork(in.Lock); len(p) > 0 {
		t.Error(p)
	}
	if _, found := steps(t, in, "node", "node-2")["kube-proxy-unit"]; !found {
		t.Error("no kube-proxy")
	}
	if names := steps(t, in, "host", "node-2")["modules"].Step.(*step.Modules).Names; slices.Contains(names, "ip_vs") {
		t.Errorf("modules %v", names)
	}
	if files := steps(t, in, "nodenetwork", "node-2")["up"].Step.(*step.Present).Files; len(files) != 1 {
		t.Errorf("waits for %v", files)
	}
	objects := fmt.Sprintf("%s", steps(t, in, "network", "cp-1")["kube-router"].Step.(*kube.Apply).Objects)
	if !strings.Contains(objects, "--run-service-proxy=false") {
		t.Error("kube-router is the proxy too")
	}
}

// Isolation needs a network that enforces it; the approver then has the rights for it.
func TestIsolation(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.Network.Isolation = manifests.IsolateNamespaces
	if p := in.Cluster.CheckNetwork(in.Lock); len(p) != 1 || p[0].Path != "network.isolation" ||
		!strings.Contains(p[0].Hint, "flannel-kube-router, kube-router") {
		t.Errorf("isolation with flannel: %v", p)
	}
	in.Lock = testLock(t, embedded(t), "1.36", "flannel-kube-router")
	if p := in.Cluster.CheckNetwork(in.Lock); len(p) > 0 {
		t.Error(p)
	}
	rules := func() string {
		var b strings.Builder
		for _, o := range steps(t, in, "access", "cp-1")["rbac"].Step.(*kube.Apply).Objects {
			if strings.Contains(string(o), `"offk8s:approver"`) && strings.Contains(string(o), `"ClusterRole"`) {
				b.Write(o)
			}
		}
		return b.String()
	}
	if got := rules(); !strings.Contains(got, `"networkpolicies"`) || !strings.Contains(got, `"namespaces"`) {
		t.Errorf("rights of the approver: %s", got)
	}
	if !steps(t, in, "smoke", "cp-1")["test"].Step.(*kube.Smoke).Isolated {
		t.Error("the smoke test does not prove it")
	}
	in.Cluster.Network.Isolation = ""
	if in.isolation() == nil || !in.isolation().Off {
		t.Error("policies of an earlier isolation stay")
	}
	in.Lock = testLock(t, embedded(t), "1.36", "flannel")
	if got := rules(); strings.Contains(got, "networkpolicies") || in.isolation() != nil {
		t.Errorf("rights without need: %s", got)
	}
}

// NetworkManager gets its file only where it runs.
func TestUnmanaged(t *testing.T) {
	in := onNetwork(t, "kube-router")
	if _, ok := steps(t, in, "host", "node-2")["unmanaged"]; ok {
		t.Error("a host without NetworkManager gets a file for it")
	}
	in.Facts["node-2"] = func() facts.Facts { f := in.Facts["node-2"]; f.NetworkManager = true; return f }()
	f, _ := steps(t, in, "host", "node-2")["unmanaged"].Step.(*step.File)
	if f == nil || !strings.Contains(f.Content, "interface-name:kube-bridge;interface-name:kube-dummy-if;interface-name:tun-*\n") {
		t.Errorf("file %+v", f)
	}
}
