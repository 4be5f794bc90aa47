package stage

import (
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// A mode of kube-proxy has its modules, its packages and its leftovers.
func TestProxyModes(t *testing.T) {
	for _, tt := range []struct {
		mode, module, packages, reset string // reset: the range of virtual servers
	}{
		{manifests.ProxyIPTables, "", "", ""},
		{manifests.ProxyIPVS, "ip_vs_rr", "packages ipset ipvsadm", "10.96.0.0/16"},
		{manifests.ProxyNFTables, "nf_tables", "packages nftables", ""},
	} {
		in := testInput(t, "1.36")
		in.Cluster.Network.ProxyMode = tt.mode
		in.Cluster.Hosts[0].Roles = []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}
		if problems := in.Cluster.CheckNetwork(in.Lock); len(problems) > 0 {
			t.Errorf("%s: %v", tt.mode, problems)
		}
		names := steps(t, in, "host", "node-2")["modules"].Step.(*step.Modules).Names
		if got := len(names) > 2 && slices.Contains(names, tt.module); got != (tt.module != "") {
			t.Errorf("%s: modules %v", tt.mode, names)
		}
		it, found := steps(t, in, "packages", "node-2")["kube-proxy-"+tt.mode]
		if found != (tt.packages != "") || found && it.Step.Describe() != tt.packages {
			t.Errorf("%s: packages %v", tt.mode, it.Step)
		}
		if got := steps(t, in, "runtime", "node-2")["cleanup"].Step.(*step.Cleanup); got.ServiceCIDR != tt.reset || (got.NodePorts != "") != (tt.reset != "") {
			t.Errorf("%s: reset %+v", tt.mode, got)
		}
		config := steps(t, in, "node", "node-2")["kube-proxy-config"].Step.(*step.File).Content
		if !strings.Contains(config, `"mode": "`+tt.mode+`"`) || strings.Contains(config, "featureGates") {
			t.Errorf("%s: %s", tt.mode, config)
		}
	}
}

// A minor in which a mode is not on by default names its feature gate.
func TestProxyGate(t *testing.T) {
	in := testInput(t, "1.36")
	in.Lock.Release.ProxyModes = map[string]string{"iptables": "", "nftables": "NFTablesProxyMode"}
	in.Cluster.Network.ProxyMode = manifests.ProxyNFTables
	config := steps(t, in, "node", "node-2")["kube-proxy-config"].Step.(*step.File).Content
	if !strings.Contains(config, "\"featureGates\": {\n    \"NFTablesProxyMode\": true") {
		t.Error(config)
	}
}

// Hosts that kube-proxy cannot run on in its mode are named before any change.
func TestProxyPreflight(t *testing.T) {
	check := func(in Input, name string) (hosts []string) {
		for _, c := range preflight(in) {
			if c.Name == name && c.Verdict == Fail {
				hosts = append(hosts, c.Host)
			}
		}
		return hosts
	}
	in := testInput(t, "1.36")
	in.Cluster.Network.ProxyMode = manifests.ProxyNFTables
	for host, kernel := range map[string]string{"cp-1": "6.1.0-18-amd64", "node-1": "5.13.0", "node-2": "5.10.0-28-amd64"} {
		f := in.Facts[host]
		f.Kernel = kernel
		in.Facts[host] = f
	}
	if got := check(in, "proxy-kernel"); !slices.Equal(got, []string{"node-2"}) {
		t.Errorf("kernels of %v are refused", got)
	}
	if got := check(in, "proxy-packages"); len(got) > 0 {
		t.Errorf("packages of %v are missing", got)
	}
	in.Lock.Artifacts = slices.DeleteFunc(in.Lock.Artifacts, func(a manifests.Artifact) bool { return a.Name == "nftables" && a.Distro == "rocky-9" })
	if got := check(in, "proxy-packages"); !slices.Equal(got, []string{"node-1"}) {
		t.Errorf("packages of %v are missing, want those of node-1", got)
	}

	// Modules count only in the mode that needs them, and for a network that is the proxy.
	lacks := func(in Input) Input {
		f := in.Facts["node-1"]
		f.NoModules = []string{"ip_vs_rr"}
		in.Facts["node-1"] = f
		return in
	}
	in = lacks(testInput(t, "1.36"))
	if names := ProxyModules(in); len(names) > 0 {
		t.Errorf("facts look for the modules %v in mode iptables", names)
	}
	if got := check(in, "proxy-kernel"); len(got) > 0 {
		t.Errorf("kernels of %v are refused in mode iptables", got)
	}
	in.Cluster.Network.ProxyMode = manifests.ProxyIPVS
	for name, in := range map[string]Input{"ipvs": in, "kube-router": lacks(onNetwork(t, "kube-router"))} {
		if got := check(in, "proxy-kernel"); !slices.Equal(got, []string{"node-1"}) {
			t.Errorf("%s: kernels of %v are refused, want that of node-1", name, got)
		}
		if names := ProxyModules(in); !slices.Contains(names, "ip_vs_sh") {
			t.Errorf("%s: facts look for the modules %v", name, names)
		}
		if names := steps(t, in, "host", "node-1")["modules"].Step.(*step.Modules).Names; !slices.Contains(names, "ip_vs_sh") {
			t.Errorf("%s: modules %v", name, names)
		}
	}

	in = testInput(t, "1.16")
	in.Cluster.Network.ProxyMode = manifests.ProxyNFTables
	if p := in.Cluster.CheckNetwork(in.Lock); len(p) != 1 || !strings.Contains(p[0].Message, "no mode nftables, want one of iptables, ipvs") {
		t.Errorf("nftables in 1.16: %v", p)
	}
	in.Cluster.Network.ProxyMode = manifests.ProxyIPVS
	f := in.Facts["node-1"]
	f.Kernel = "3.10.0-1160.el7.x86_64"
	in.Facts["node-1"] = f
	modules := steps(t, in, "host", "node-1")["modules"].Step.(*step.Modules)
	if !slices.Contains(modules.Optional, "nf_conntrack_ipv4") || slices.Contains(steps(t, in, "host", "node-2")["modules"].Step.(*step.Modules).Optional, "nf_conntrack_ipv4") {
		t.Errorf("modules of an old kernel: %+v", modules)
	}
}

// Without a tunnel, all nodes must be in one subnet.
func TestOneSubnet(t *testing.T) {
	failed := func(in Input) (hosts []string) {
		for _, c := range preflight(in) {
			if c.Name == "pod-network-subnet" && c.Verdict == Fail {
				hosts = append(hosts, c.Host)
			}
		}
		return hosts
	}
	in := testInput(t, "1.36")
	in.Cluster.Network.Options = map[string]any{"backend": "host-gw"}
	if got := failed(in); len(got) > 0 {
		t.Errorf("%v are in one subnet", got)
	}
	in.Cluster.Hosts[2].Address = "10.0.1.13"
	in.Facts["node-2"] = testFacts(in.Cluster.Hosts[2], "debian", "12")
	if got := failed(in); !slices.Equal(got, []string{"cp-1", "node-1", "node-2"}) {
		t.Errorf("host-gw over two subnets is refused on %v", got)
	}
	in.Cluster.Network.Options = nil
	if got := failed(in); len(got) > 0 {
		t.Errorf("vxlan is refused on %v", got)
	}
	ports := steps(t, in, "host", "node-1")["firewall-hosts"].Step.(*step.Firewall).Ports
	in.Cluster.Network.Options = map[string]any{"port": int64(4789)}
	if got := steps(t, in, "host", "node-1")["firewall-hosts"].Step.(*step.Firewall).Ports; !slices.Contains(ports, "8472/udp") || !slices.Contains(got, "4789/udp") || slices.Contains(got, "8472/udp") {
		t.Errorf("the firewall opens %v and %v", ports, got)
	}
}
