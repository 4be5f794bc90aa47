package stage

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/approver"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
)

// dualStack gives pods, services and nodes of in addresses of both families.
func dualStack(in Input) Input {
	in.Cluster.Network.PodCIDR, in.Cluster.Network.ServiceCIDR = "10.244.0.0/16,fd01::/56", "10.96.0.0/16,fd02::/112"
	for i, h := range in.Cluster.Hosts {
		if h.IsNode() {
			h.SecondAddress = fmt.Sprintf("fd00::%d", i+1)
			f := in.Facts[h.Name]
			f.Addresses = append(f.Addresses, facts.Address{Interface: "eth0", Prefix: netip.MustParsePrefix(h.SecondAddress + "/64"), MTU: 1500})
			in.Facts[h.Name], in.Cluster.Hosts[i] = f, h
		}
	}
	return in
}

// All programs of a cluster with both families know both ranges, and each node both of its
// addresses.
func TestDualStack(t *testing.T) {
	in := dualStack(testInput(t, "1.36"))
	in.Cluster.Network.ProxyMode = "ipvs"
	if bad := append(in.Cluster.Validate(), in.Cluster.CheckNetwork(in.Lock)...); len(bad) > 0 {
		t.Fatal(bad)
	}
	if bad := Failed(preflight(in)); len(bad) > 0 {
		t.Fatal(bad)
	}
	pods, services := in.Cluster.Network.PodCIDR, in.Cluster.Network.ServiceCIDR
	for _, tt := range []struct{ stage, host, unit, flag, want string }{
		{"controlplane", "cp-1", "kube-apiserver-unit", "service-cluster-ip-range", services},
		{"controlplane", "cp-1", "kube-controller-manager-unit", "cluster-cidr", pods},
		{"controlplane", "cp-1", "kube-controller-manager-unit", "service-cluster-ip-range", services},
		{"node", "node-1", "kubelet-unit", "node-ip", "10.0.0.12,fd00::2"},
	} {
		if got := flagsIn(t, in, tt.stage, tt.host, tt.unit)[tt.flag]; got != tt.want {
			t.Errorf("%s: --%s=%s, want %s", tt.unit, tt.flag, got, tt.want)
		}
	}
	node := steps(t, in, "node", "node-1")
	if conf := node["kube-proxy-config"].Step.(*step.File).Content; !strings.Contains(conf, `"clusterCIDR": "`+pods+`"`) {
		t.Errorf("kube-proxy: %s", conf)
	}
	if conf := node["kubelet-config"].Step.(*step.File).Content; !strings.Contains(conf, `"10.96.0.10"`) {
		t.Errorf("kubelet: %s", conf)
	}
	host := steps(t, in, "host", "node-1")
	if got := host["sysctl"].Step.(*step.Sysctl).Values["net.ipv6.conf.all.forwarding"]; got != "1" {
		t.Errorf("forwarding of IPv6: %q", got)
	}
	if got := host["firewall-hosts"].Step.(*step.Firewall).Sources; !slices.Contains(got, "fd00::3") || !slices.Contains(got, "10.0.0.13") {
		t.Errorf("firewall lets %v in", got)
	}
	if got := host["firewall-pods"].Step.(*step.Firewall).Trusted; !slices.Equal(got, []string{"10.244.0.0/16", "fd01::/56", "10.96.0.0/16", "fd02::/112"}) {
		t.Errorf("firewall trusts %v", got)
	}
	c := steps(t, in, "runtime", "node-1")["cleanup"].Step.(*step.Cleanup)
	if c.PodCIDR != pods || c.ServiceCIDR != services || !slices.Contains(c.Interfaces, "flannel-v6.1") || c.Validate() != nil {
		t.Errorf("reset: %+v, %v", c, c.Validate())
	}
	var known approver.Config
	if err := json.Unmarshal([]byte(steps(t, in, "controlplane", "cp-1")[approverName+"-config"].Step.(*step.File).Content), &known); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(known.Nodes, kube.NodeAddress{Name: "node-1", Address: "10.0.0.12", Second: "fd00::2"}) {
		t.Errorf("the approver knows %v", known.Nodes)
	}
	objects := fmt.Sprintf("%s", steps(t, in, "network", "cp-1")["flannel"].Step.(*kube.Apply).Objects)
	for _, want := range []string{
		`\"Network\": \"10.244.0.0/16\"`, `\"EnableIPv6\": true`, `\"IPv6Network\": \"fd01::/56\"`,
		`"--iface-regex=^(10\\.0\\.0\\.11|10\\.0\\.0\\.12|10\\.0\\.0\\.13|fd00::1|fd00::2|fd00::3)$"`,
	} {
		if !strings.Contains(objects, want) {
			t.Errorf("flannel: no %s in %s", want, objects)
		}
	}
}

// Both families need a Kubernetes and a pod network that have them.
func TestDualStackIsRefused(t *testing.T) {
	for _, tt := range []struct{ minor, network, want string }{
		{"1.20", "flannel", "the pod network flannel v0.15.1 of the bundle has one address family"},
		{"1.20", "other", "behind a feature gate, with another API: want 1.21 or later"},
		{"1.36", "calico", "the pod network calico"},
		{"1.21", "flannel", ""},
		{"1.36", "flannel", ""},
	} {
		in := dualStack(testInput(t, tt.minor))
		if tt.network == "other" {
			in.Lock.CNIRelease.DualStack = true
		} else {
			in.Lock = testLock(t, embedded(t), tt.minor, tt.network)
		}
		p := in.Cluster.CheckNetwork(in.Lock)
		if tt.want == "" && len(p) > 0 || tt.want != "" && (len(p) != 1 || p[0].Path != "network.podCIDR" || !strings.Contains(p[0].Message, tt.want)) {
			t.Errorf("%s with %s: %v, want %q", tt.minor, tt.network, p, tt.want)
		}
	}
}

// flannel uses one interface for both families.
func TestSecondAddressIsOnTheInterface(t *testing.T) {
	for _, change := range []func(*facts.Facts){
		func(f *facts.Facts) { f.Addresses = f.Addresses[:1] },
		func(f *facts.Facts) { f.Addresses[1].Interface = "eth1" },
	} {
		in := dualStack(testInput(t, "1.36"))
		f := in.Facts["node-2"]
		change(&f)
		in.Facts["node-2"] = f
		bad := Failed(preflight(in))
		if len(bad) != 1 || bad[0].Name != "second-address" || bad[0].Host != "node-2" {
			t.Errorf("found %v", bad)
		}
	}
}
