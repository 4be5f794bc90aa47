package stage

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/manifests"
)

func TestDrills(t *testing.T) {
	without := func(in Input, hosts ...string) {
		in.Cluster.Hosts = slices.DeleteFunc(in.Cluster.Hosts, func(h manifests.Host) bool { return slices.Contains(hosts, h.Name) })
	}
	for name, tt := range map[string]struct {
		change func(in *Input)
		leader string
		want   [3]string // hosts of the balancer, the control plane and the member
	}{
		"six hosts":         {func(*Input) {}, "cp-2", [3]string{"lb-2", "cp-3", "cp-2"}},
		"no leader known":   {func(*Input) {}, "", [3]string{"lb-2", "cp-3", "cp-3"}},
		"nobody is active":  {func(in *Input) { in.Cluster.LoadBalancer.VIP = "10.0.0.99" }, "cp-1", [3]string{"", "cp-3", "cp-1"}},
		"one balancer":      {func(in *Input) { without(*in, "lb-1") }, "cp-1", [3]string{"", "cp-3", "cp-1"}},
		"one control plane": {func(in *Input) { without(*in, "cp-2", "cp-3") }, "cp-1", [3]string{"lb-2", "", ""}},
		"two members":       {func(in *Input) { without(*in, "cp-3") }, "cp-1", [3]string{"lb-2", "cp-2", ""}},
		"external": {func(in *Input) {
			in.Cluster.LoadBalancer.Mode, in.Cluster.ControlPlane.Endpoint = manifests.BalanceExternal, "api.example.org:6443"
		}, "cp-1", [3]string{"", "cp-3", "cp-1"}},
		// Users connect to a control plane, which must not be the one that is stopped.
		"node-local": {func(in *Input) {
			in.Cluster.LoadBalancer.Mode, in.Cluster.ControlPlane.Endpoint = manifests.BalanceNodeLocal, "10.0.0.15:6443"
		}, "cp-1", [3]string{"", "cp-2", "cp-1"}},
	} {
		in := sixHosts(t, "1.36")
		f := in.Facts["lb-2"]
		f.Addresses = append(f.Addresses, facts.Address{Interface: "eth0", Prefix: netip.MustParsePrefix("10.0.0.10/24")})
		in.Facts["lb-2"] = f
		tt.change(&in)
		var got [3]string
		for i, d := range Drills(in, tt.leader) {
			got[i] = d.Host
			if d.Name != DrillNames()[i] || d.Host == "" && d.Note == "" || d.Limit == 0 || len(d.Units) == 0 {
				t.Errorf("%s: %+v", name, d)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// Everything that a drill stops is observed.
func TestWorking(t *testing.T) {
	in := sixHosts(t, "1.36")
	in.Lock, in.Facts = nil, nil // drill has no bundle
	for _, h := range in.Cluster.Hosts {
		items := Working(in, h, time.Second)
		want := map[string]int{"lb-1": 2, "lb-2": 2, "cp-1": 2, "cp-2": 2, "cp-3": 2}[h.Name]
		if len(items) != want || slices.ContainsFunc(Drilled(in.Cluster), func(x manifests.Host) bool { return x.Name == h.Name }) != (want > 0) {
			t.Errorf("%s: %d observations, want %d", h.Name, len(items), want)
		}
		for _, it := range items {
			if err := it.Validate(); err != nil {
				t.Errorf("%s: %v", h.Name, err)
			}
		}
	}
	if err := LeadsEtcd(in.Cluster.Hosts[2]).Validate(); err != nil {
		t.Error(err)
	}
}
