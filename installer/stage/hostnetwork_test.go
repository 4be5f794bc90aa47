package stage

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Without a default route a node routes services to the interface with its address,
// now and when the kubelet starts.
func TestServiceRoute(t *testing.T) {
	const line = "\nExecStartPre=/sbin/ip route replace 10.96.0.0/16 dev eth0 src 10.0.0.12\n"
	for _, tt := range []struct {
		name   string
		change func(*manifests.Host, *facts.Facts)
		want   bool
	}{
		{"no default route", func(_ *manifests.Host, f *facts.Facts) { f.DefaultRoutes = []facts.Route{} }, true},
		{"default route", func(*manifests.Host, *facts.Facts) {}, false},
		{"default route by another interface", func(_ *manifests.Host, f *facts.Facts) { f.DefaultRoutes[0].Interface = "eth1" }, false},
		{"unknown", func(_ *manifests.Host, f *facts.Facts) { f.DefaultRoutes = nil }, false},
		{"no node", func(h *manifests.Host, f *facts.Facts) {
			h.Roles, f.DefaultRoutes = []manifests.Role{manifests.RoleEtcd}, []facts.Route{}
		}, false},
	} {
		in := testInput(t, "1.36")
		f := in.Facts["node-1"]
		f.Addresses = append([]facts.Address{{Interface: "eth1", Prefix: netip.MustParsePrefix("192.0.2.12/24")}}, f.Addresses...)
		tt.change(&in.Cluster.Hosts[1], &f)
		in.Facts["node-1"] = f
		node := steps(t, in, "node", "node-1")
		it, ok := node["service-route"]
		if ok != tt.want {
			t.Errorf("%s: step %v, want %v", tt.name, ok, tt.want)
		}
		if ok && *it.Step.(*step.Route) != (step.Route{Destination: "10.96.0.0/16", Device: "eth0", Source: "10.0.0.12"}) {
			t.Errorf("%s: %s", tt.name, it.Step.Describe())
		}
		if unit, ok := node["kubelet-unit"]; ok && strings.Contains(unit.Step.(*step.Unit).Content, line) != tt.want {
			t.Errorf("%s: kubelet's unit with the route: %v, want %v:\n%s", tt.name, !tt.want, tt.want, unit.Step.(*step.Unit).Content)
		}
	}
}

func TestCheckNetwork(t *testing.T) {
	second := func(f *facts.Facts) {
		f.Addresses = append(f.Addresses, facts.Address{Interface: "eth1", Prefix: netip.MustParsePrefix("10.0.0.99/24"), MTU: 1500})
	}
	for _, tt := range []struct {
		name, check string
		change      func(*facts.Facts)
		want        Verdict
		text        string
	}{
		{"same MTU", "address-interface", func(*facts.Facts) {}, Pass, "eth0, MTU 1500"},
		{"jumbo frames here alone", "address-interface", func(f *facts.Facts) { f.Addresses[0].MTU = 9000 }, Warn, "want MTU 1500, as on cp-1"},
		{"strict, one interface", "address-interface", func(f *facts.Facts) { f.Addresses[0].ReversePath = 1 }, Pass, ""},
		{"loose, two interfaces", "address-interface", func(f *facts.Facts) { second(f); f.Addresses[0].ReversePath = 2 }, Pass, ""},
		{"strict, two interfaces", "address-interface", func(f *facts.Facts) { second(f); f.Addresses[0].ReversePath = 1 }, Warn, "eth1 in the same subnet"},
		{"default route", "default-route", func(*facts.Facts) {}, Pass, "by eth0"},
		{"none", "default-route", func(f *facts.Facts) { f.DefaultRoutes = []facts.Route{} }, Warn, "10.96.0.0/16 by eth0"},
		{"none, installed", "default-route", func(f *facts.Facts) {
			f.DefaultRoutes, f.Installed = []facts.Route{}, &facts.Installed{Cluster: "test"}
		}, Pass, "none"},
	} {
		in := testInput(t, "1.36")
		f := in.Facts["node-1"]
		tt.change(&f)
		in.Facts["node-1"] = f
		checks := preflight(in)
		i := slices.IndexFunc(checks, func(c Check) bool { return c.Host == "node-1" && c.Name == tt.check })
		if i < 0 || checks[i].Verdict != tt.want || !strings.Contains(checks[i].String(), tt.text) {
			t.Errorf("%s: %v, want %s with %q", tt.name, checks, tt.want, tt.text)
		}
	}
}

// Ports are open on the interface with the host's address, whatever others it has.
func TestFirewallInterface(t *testing.T) {
	in := testInput(t, "1.36")
	edit(in, "node-1", func(f *facts.Facts) {
		f.Addresses = append([]facts.Address{{Interface: "eth1", Prefix: netip.MustParsePrefix("192.0.2.12/24")}}, f.Addresses...)
	})
	for _, want := range []string{"eth0", ""} {
		items, err := hostSteps(in, in.Cluster.Hosts[1])
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, it := range items {
			if fw, ok := it.Step.(*step.Firewall); ok && len(fw.Ports) > 0 {
				if found++; fw.Interface != want {
					t.Errorf("step %q: interface %q, want %q", it.ID, fw.Interface, want)
				}
			}
		}
		if found != 2 {
			t.Errorf("%d steps open ports, want 2", found)
		}
		in.Facts = nil // a plan without the hosts
	}
}
