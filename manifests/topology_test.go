package manifests

import (
	"fmt"
	"strings"
	"testing"
)

// Every topology can be written and read, with as few hosts as it needs and with more.
func TestTopologies(t *testing.T) {
	for _, top := range Topologies() {
		for _, more := range []int{0, 2} {
			n := NewCluster{Topology: top.Name}
			for i := range top.least + more {
				n.Hosts = append(n.Hosts, fmt.Sprintf("10.0.0.%d", 11+i))
			}
			switch top.mode {
			case BalanceHosts:
				n.VIP = "10.0.0.10"
			case BalanceExternal:
				n.Endpoint = "k8s.example.com:6443"
			}
			doc, err := n.Write()
			if top.rest == nil && more > 0 {
				if err == nil || !strings.Contains(err.Error(), "want 1") {
					t.Errorf("%s with %d hosts: %v", top.Name, len(n.Hosts), err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s with %d hosts: %v", top.Name, len(n.Hosts), err)
				continue
			}
			c, err := LoadCluster("c.yaml", doc)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Hosts) != len(n.Hosts) || c.Balancing() != top.mode || !c.Mirror.IsExample() {
				t.Errorf("%s: %d hosts, mode %q, mirror %v", top.Name, len(c.Hosts), c.Balancing(), c.Mirror)
			}
			for _, part := range []string{"# The ranges must not overlap", "# hostPreparation:", "# topologyReason:", "# Flags without dashes"} {
				if strings.Count(string(doc), part) != 1 {
					t.Errorf("%s: not once %q:\n%s", top.Name, part, doc)
				}
			}
		}
	}
}

func TestNewCluster(t *testing.T) {
	doc, err := NewCluster{
		Topology: "production", VIP: "10.0.0.10",
		Hosts: []string{"10.0.0.11", "10.0.0.12", "a=10.0.0.13", "b=10.0.0.14", "10.0.0.15", "10.0.0.16", "10.0.0.17"},
	}.Write()
	if err != nil {
		t.Fatal(err)
	}
	c, err := LoadCluster("c.yaml", doc)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range c.Hosts {
		got = append(got, h.Name+" "+joinRoles(h.Roles))
	}
	const want = "lb-1 load-balancer; lb-2 load-balancer; a control-plane, etcd; b control-plane, etcd; cp-3 control-plane, etcd; node-1 worker; node-2 worker"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
}

func TestNewClusterRefused(t *testing.T) {
	three := []string{"10.0.0.11", "10.0.0.12", "10.0.0.13"}
	tests := []struct {
		n    NewCluster
		want string
	}{
		{NewCluster{Topology: "huge"}, "want one of all-in-one, single"},
		{NewCluster{Topology: "production", Hosts: three, VIP: "10.0.0.10"}, "found hosts: 3, want 6 or more"},
		{NewCluster{Topology: "compact", Hosts: three}, "needs a VIP"},
		{NewCluster{Topology: "single", Hosts: three, VIP: "10.0.0.10"}, "has no VIP"},
		{NewCluster{Topology: "single", Hosts: three, Endpoint: "x:1"}, "has no balancer's endpoint"},
		{NewCluster{Topology: "compact", Hosts: three, VIP: "10.0.0.11"}, "loadBalancer.vip"},
		{NewCluster{Topology: "single", Hosts: []string{"cp-1", "10.0.0.12", "X=10.0.0.13"}}, `host "cp-1": want an address`},
		{NewCluster{Topology: "single", Hosts: []string{"cp-1", "10.0.0.12", "X=10.0.0.13"}}, `host "X=10.0.0.13": want an address`},
	}
	for _, tt := range tests {
		if _, err := tt.n.Write(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.n, err, tt.want)
		}
	}
}
