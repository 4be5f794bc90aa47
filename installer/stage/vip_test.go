package stage

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// balancedInput is testInput with the balancers lb-1 and lb-2, which are new.
func balancedInput(t *testing.T) Input {
	t.Helper()
	in := testInput(t, "1.36")
	in.Cluster.LoadBalancer.VIP = "10.0.0.10"
	for _, last := range []string{"1", "2"} {
		h := manifests.Host{Name: "lb-" + last, Address: "10.0.0.2" + last, Roles: []manifests.Role{manifests.RoleLoadBalancer}}
		in.Cluster.Hosts = append(in.Cluster.Hosts, h)
		in.Facts[h.Name] = testFacts(h, "debian", "12")
		in.Facts[h.Name].Addresses[0].MAC = "52:54:00:00:00:2" + last
	}
	return in
}

// edit changes the facts of a host.
func edit(in Input, host string, change func(*facts.Facts)) {
	f := in.Facts[host]
	change(&f)
	in.Facts[host] = f
}

// balancing makes a host a balancer of an earlier run.
func balancing(in Input, host string) {
	edit(in, host, func(f *facts.Facts) {
		f.Installed = &facts.Installed{Cluster: "test", Host: host, Roles: []string{"load-balancer"}}
	})
}

// address gives a host's interface another address.
func address(in Input, host, name, prefix string) {
	edit(in, host, func(f *facts.Facts) {
		f.Addresses = append(f.Addresses, facts.Address{Interface: name, Prefix: netip.MustParsePrefix(prefix), MTU: 1500})
	})
}

func TestProbes(t *testing.T) {
	arp := probe.Probe{Kind: probe.Neighbor, Interface: "eth0", Address: netip.MustParseAddr("10.0.0.10")}
	vrrp := probe.Probe{Kind: probe.VRRP, Interface: "eth0"}
	tests := []struct {
		name   string
		change func(*Input)
		want   map[string][]probe.Probe
	}{
		{"first run", func(*Input) {}, map[string][]probe.Probe{"lb-1": {arp, vrrp}, "lb-2": {arp, vrrp}}},
		{"another interface", func(in *Input) {
			in.Cluster.LoadBalancer.Interface = "eth1"
			address(*in, "lb-1", "eth1", "10.0.0.31/24")
		}, map[string][]probe.Probe{"lb-1": {
			{Kind: probe.Neighbor, Interface: "eth1", Address: arp.Address}, {Kind: probe.VRRP, Interface: "eth1"},
		}}},
		{"they work", func(in *Input) {
			balancing(*in, "lb-1")
			balancing(*in, "lb-2")
			address(*in, "lb-2", "eth0", "10.0.0.10/32")
		}, map[string][]probe.Probe{}},
		{"they have stopped", func(in *Input) {
			balancing(*in, "lb-1")
			balancing(*in, "lb-2")
		}, map[string][]probe.Probe{"lb-1": {arp}, "lb-2": {arp}}},
		{"another one comes", func(in *Input) {
			balancing(*in, "lb-1")
			address(*in, "lb-1", "eth0", "10.0.0.10/32")
		}, map[string][]probe.Probe{"lb-2": {vrrp}}},
		{"one is replaced, and may have the address", func(in *Input) {
			balancing(*in, "lb-1")
			edit(*in, "lb-1", func(f *facts.Facts) {
				f.Installed.Hosts = []facts.Member{{Name: "lb-0", Address: "10.0.0.20", Roles: []string{"load-balancer"}}}
			})
		}, map[string][]probe.Probe{"lb-2": {vrrp}}},
		{"balancers of somebody else", func(in *Input) { in.Cluster.LoadBalancer.Mode = manifests.BalanceExternal }, nil},
		{"without hosts", func(in *Input) { in.Facts = nil }, map[string][]probe.Probe{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := balancedInput(t)
			tt.change(&in)
			if diff := cmp.Diff(tt.want, in.vipProbes(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCheckBalancers(t *testing.T) {
	vip := netip.MustParseAddr("10.0.0.10")
	answer := func(in *Input, host string, kind probe.Kind, s ...probe.Station) {
		in.Answers = map[string][]probe.Answer{host: {{
			Probe: probe.Probe{Kind: kind, Interface: "eth0", Address: vip}, Stations: s,
		}}}
	}
	router := func(id int, address string) probe.Station {
		return probe.Station{VRRPID: id, Address: netip.MustParseAddr(address)}
	}
	taken := probe.Station{Address: vip, MAC: "52:54:00:00:00:99"}
	own := probe.Station{Address: vip, MAC: "52:54:00:00:00:22"}
	tests := []struct {
		name   string
		change func(*Input)
		want   Verdict // worst of the checks that are named here
		check  string  // its line, or a part
	}{
		{"good", func(*Input) {}, Pass, ""},
		{"no such interface", func(in *Input) {
			in.Cluster.LoadBalancer.Interface = "eth9"
			address(*in, "lb-1", "eth9", "10.0.0.31/24")
		}, Fail, "lb-2: vip-interface: found eth9, which is not there or has no IPv4 address, want one of eth0"},
		{"the interface has only the virtual address", func(in *Input) {
			in.Cluster.LoadBalancer.Interface = "eth1"
			for _, name := range []string{"lb-1", "lb-2"} {
				balancing(*in, name)
				address(*in, name, "eth1", "10.0.0.10/32")
			}
		}, Fail, "lb-1: vip-interface: found eth1"},
		{"outside the network", func(in *Input) { in.Cluster.LoadBalancer.VIP = "10.0.1.10" }, Fail, "lb-1: vip-network: found 10.0.1.10 on eth0, want an address of a host in 10.0.0.0/24"},
		{"address of the network", func(in *Input) { in.Cluster.LoadBalancer.VIP = "10.0.0.0" }, Fail, "lb-1: vip-network: "},
		{"broadcast address", func(in *Input) { in.Cluster.LoadBalancer.VIP = "10.0.0.255" }, Fail, "lb-1: vip-network: "},
		{"second network of the interface", func(in *Input) {
			in.Cluster.LoadBalancer.VIP = "10.0.1.10"
			address(*in, "lb-1", "eth0", "10.0.1.1/24")
			address(*in, "lb-2", "eth0", "10.0.1.2/24")
		}, Pass, ""},
		{"ignored", func(in *Input) {
			in.Cluster.LoadBalancer.VIP = "10.0.1.10"
			in.Cluster.HostPrep.IgnorePreflight = []string{"vip-network"}
		}, Warn, "lb-1: vip-network: "},
		{"free", func(in *Input) { answer(in, "lb-1", probe.Neighbor) }, Pass, "lb-1: vip-free: found 10.0.0.10 not in use"},
		{"in use", func(in *Input) { answer(in, "lb-1", probe.Neighbor, taken) }, Fail, "lb-1: vip-free: found 10.0.0.10 in use by 52:54:00:00:00:99, want an address that nobody uses"},
		{"in use by a balancer", func(in *Input) {
			answer(in, "lb-1", probe.Neighbor, own)
			balancing(*in, "lb-2")
		}, Pass, "lb-1: vip-free: found 10.0.0.10 in use by 52:54:00:00:00:22, lb-2"},
		{"in use by a host that is no balancer yet", func(in *Input) {
			answer(in, "lb-1", probe.Neighbor, own)
		}, Fail, "52:54:00:00:00:22, lb-2"},
		{"in use, perhaps by a balancer that is away", func(in *Input) {
			answer(in, "lb-1", probe.Neighbor, taken)
			delete(in.Facts, "lb-2")
		}, Warn, "in use by 52:54:00:00:00:99, unless that is lb-2"},
		{"on a balancer", func(in *Input) {
			balancing(*in, "lb-1")
			address(*in, "lb-1", "eth0", "10.0.0.10/32")
		}, Pass, "lb-1: vip-free: found 10.0.0.10 on eth0 of this host"},
		{"on a host that is no balancer yet", func(in *Input) {
			address(*in, "lb-1", "eth0", "10.0.0.10/24")
		}, Fail, "lb-1: vip-free: found 10.0.0.10 on eth0 of this host"},
		{"on a balancer of another cluster", func(in *Input) {
			balancing(*in, "lb-1")
			edit(*in, "lb-1", func(f *facts.Facts) { f.Installed.Cluster = "other" })
			address(*in, "lb-1", "eth0", "10.0.0.10/32")
		}, Fail, "lb-1: vip-free: "},
		{"on another host", func(in *Input) { address(*in, "node-2", "eth1", "10.0.0.10/24") }, Fail, "node-2: vip-free: found 10.0.0.10 on eth1"},
		{"not asked", func(in *Input) {
			answer(in, "lb-1", probe.Neighbor)
			in.Answers["lb-1"][0].Error = "no permission"
		}, Warn, "not asked for: no permission"},
		{"other routers", func(in *Input) {
			answer(in, "lb-2", probe.VRRP, router(52, "10.0.0.98"))
		}, Pass, "lb-2: vrrp-id: found 51, not in use on eth0"},
		{"number in use", func(in *Input) {
			answer(in, "lb-2", probe.VRRP, router(52, "10.0.0.98"), router(51, "10.0.0.99"))
		}, Fail, "lb-2: vrrp-id: found 51, in use on eth0 by 10.0.0.99, want a number that no other router uses (set loadBalancer.vrrpID, for example to 53)"},
		{"the last number in use", func(in *Input) {
			in.Cluster.LoadBalancer.VRRPID = 255
			answer(in, "lb-2", probe.VRRP, router(255, "10.0.0.99"))
		}, Fail, "for example to 1)"},
		{"number in use by a balancer", func(in *Input) {
			balancing(*in, "lb-1")
			answer(in, "lb-2", probe.VRRP, router(51, "10.0.0.21"))
		}, Pass, "lb-2: vrrp-id: "},
		{"number in use by a balancer that is away", func(in *Input) {
			delete(in.Facts, "lb-1")
			answer(in, "lb-2", probe.VRRP, router(51, "10.0.0.21"))
		}, Pass, "lb-2: vrrp-id: "},
		{"number in use on a host that is no balancer yet", func(in *Input) {
			answer(in, "lb-2", probe.VRRP, router(51, "10.0.0.21"))
		}, Fail, "by 10.0.0.21"},
		{"not heard", func(in *Input) {
			answer(in, "lb-2", probe.VRRP)
			in.Answers["lb-2"][0].Error = "no permission"
		}, Warn, "without knowledge of others: no permission"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := balancedInput(t)
			tt.change(&in)
			worst, named := Pass, tt.check == ""
			var lines []string
			for _, c := range preflight(in) {
				if !strings.HasPrefix(c.Name, "vip-") && c.Name != "vrrp-id" {
					continue
				}
				lines = append(lines, string(c.Verdict)+" "+c.String())
				if worst == Pass || c.Verdict == Fail {
					worst = c.Verdict
				}
				named = named || c.Verdict == tt.want && strings.Contains(c.String(), tt.check)
			}
			if worst != tt.want || !named {
				t.Errorf("%s, want %s by %q:\n%s", worst, tt.want, tt.check, strings.Join(lines, "\n"))
			}
		})
	}
}

// Where firewalld has the interface of the virtual address in another zone, the port is
// open there too. VRRP is between the hosts' addresses.
func TestBalancerFirewall(t *testing.T) {
	for name, want := range map[string][]string{"": {"eth0"}, "eth1": {"eth0", "eth1"}} {
		in := balancedInput(t)
		in.Cluster.LoadBalancer.Interface = name
		items, err := hostSteps(in, in.Cluster.Hosts[3])
		if err != nil {
			t.Fatal(err)
		}
		var ports, vrrp []string
		for _, it := range items {
			fw, ok := it.Step.(*step.Firewall)
			if ok && slices.Contains(fw.Ports, in.Cluster.BalancerPort()+"/tcp") {
				ports = append(ports, fw.Interface)
			}
			if ok && slices.Contains(fw.Protocols, "vrrp") {
				vrrp = append(vrrp, fw.Interface)
			}
		}
		if !slices.Equal(ports, want) || !slices.Equal(vrrp, []string{"eth0"}) {
			t.Errorf("interface %q: port on %q, VRRP on %q; want the port on %q", name, ports, vrrp, want)
		}
	}
}
