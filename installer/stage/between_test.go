package stage

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
)

func TestBetween(t *testing.T) {
	network := func(name, prefix string) func(*Input, *facts.Facts) {
		return func(_ *Input, f *facts.Facts) {
			f.Addresses = append(slices.Clone(f.Addresses), facts.Address{Interface: name, Prefix: netip.MustParsePrefix(prefix)})
		}
	}
	route := func(name, prefix string) func(*Input, *facts.Facts) {
		return func(_ *Input, f *facts.Facts) {
			f.Routes = []facts.Way{{To: netip.MustParsePrefix(prefix), Interface: name}}
		}
	}
	// both changes the facts of node-2 too, for a warning or a failure of a pair.
	both := func(change func(*facts.Facts)) func(*Input, *facts.Facts) {
		return func(in *Input, f *facts.Facts) {
			change(f)
			other := in.Facts["node-2"]
			change(&other)
			in.Facts["node-2"] = other
		}
	}
	ignore := func(name string, change func(*Input, *facts.Facts)) func(*Input, *facts.Facts) {
		return func(in *Input, f *facts.Facts) {
			in.Cluster.HostPrep.IgnorePreflight = []string{name}
			change(in, f)
		}
	}
	runChecks(t, []checkCase{
		{"ids", "", func(_ *Input, f *facts.Facts) { f.System.MachineID = "0123" }, "machine-id", Pass, "0123", ""},
		{"clones", "", ignore("machine-id", both(func(f *facts.Facts) { f.System.MachineID = "0123" })), "machine-id", Warn, "0123, as node-2", "systemd-machine-id-setup"},
		{"same card", "", ignore("mac", both(func(f *facts.Facts) {
			f.Addresses = slices.Clone(f.Addresses)
			f.Addresses[0].MAC = "52:54:00:00:00:01"
		})), "mac", Warn, "52:54:00:00:00:01, as node-2", "network card"},
		{"same UUID", "", both(func(f *facts.Facts) { f.System.ProductUUID = "4c4c" }), "product-uuid", Warn, "4c4c, as node-2", ""},
		{"address of another", "", network("eth1", "10.0.0.13/24"), "address-twice", Fail, "10.0.0.13 of node-2, on eth1", "cluster.yaml"},
		{"addresses of its own", "", network("eth1", "10.9.0.13/24"), "address-twice", Pass, "", ""},
		{"docker's network in the pods'", "", network("docker0", "10.244.8.1/24"), "networks", Fail, "10.244.8.0/24 on docker0 overlaps with 10.244.0.0/16 for pods", "podCIDR"},
		{"the site in the services'", "", route("eth0", "10.96.7.0/24"), "networks", Fail, "10.96.7.0/24 on eth0 overlaps", ""},
		{"a network around the pods'", "", route("tun0", "10.240.0.0/12"), "networks", Fail, "for pods", ""},
		{"half of the world", "", route("tun0", "0.0.0.0/1"), "networks", Pass, "", ""},
		{"another network", "", network("docker0", "172.17.0.1/16"), "networks", Pass, "no overlap", ""},
		{"ours", "", func(in *Input, f *facts.Facts) { ours(f); network("cni0", "10.244.1.1/24")(in, f) }, "networks", "", "", ""},
	})
	// Without the setting, both clones fail.
	in := testInput(t, "1.36")
	for _, name := range []string{"node-1", "node-2"} {
		f := in.Facts[name]
		f.System.MachineID = "0123"
		f.Addresses = slices.Clone(f.Addresses)
		f.Addresses[0].MAC = "52:54:00:00:00:01"
		in.Facts[name] = f
	}
	if bad := Failed(preflight(in)); len(bad) != 4 {
		t.Errorf("failed: %v, want machine-id and mac of both", bad)
	}
}
