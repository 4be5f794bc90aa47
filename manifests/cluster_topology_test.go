package manifests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/manifests/strict"
)

// six returns the plan of production: two balancers, three control planes with etcd, a
// worker.
func six() *Cluster {
	c := &Cluster{
		APIVersion: "offk8s.dev/v1", Kind: "Cluster", Name: "site", Mirror: ClusterMirror{URL: "http://10.0.0.5:8443"},
		LoadBalancer: LoadBalancer{VIP: "10.0.0.10"},
	}
	roles := []string{"load-balancer", "load-balancer", "control-plane etcd", "control-plane etcd", "control-plane etcd", "worker"}
	for i, r := range roles {
		h := Host{Name: fmt.Sprintf("h-%d", i), Address: fmt.Sprintf("10.0.0.%d", 11+i)}
		for _, one := range strings.Fields(r) {
			h.Roles = append(h.Roles, Role(one))
		}
		c.Hosts = append(c.Hosts, h)
	}
	return c
}

func TestTopology(t *testing.T) {
	tests := []struct {
		name, path, want string // no want: fine
		change           func(*Cluster)
	}{
		{"six hosts", "", "", func(*Cluster) {}},
		{"mode given", "", "", func(c *Cluster) { c.LoadBalancer.Mode = BalanceHosts }},
		{"all fields", "", "", func(c *Cluster) {
			c.LoadBalancer = LoadBalancer{BalanceHosts, "10.0.0.10", 443, "ens192.100", 255}
			c.ControlPlane.Endpoint = "k8s.example.com:443"
		}},
		{"unknown mode", "loadBalancer.mode", "want one of hosts, external, node-local", func(c *Cluster) { c.LoadBalancer.Mode = "vip" }},
		{"no balancer", "hosts", "3 hosts have the role \"control-plane\" and no load balancer", func(c *Cluster) {
			c.Hosts, c.LoadBalancer = c.Hosts[2:], LoadBalancer{}
		}},
		{"one balancer", "hosts", "1 hosts have the role \"load-balancer\", want 2", func(c *Cluster) { c.Hosts = c.Hosts[1:] }},
		{"one balancer, and why", "", "", func(c *Cluster) { c.Hosts, c.TopologyReason = c.Hosts[1:], "the other is on its way" }},
		{"mode without balancers", "hosts", "0 hosts have the role \"load-balancer\"", func(c *Cluster) {
			c.Hosts, c.LoadBalancer.Mode, c.TopologyReason = c.Hosts[2:], BalanceHosts, "so"
		}},
		{"two control planes", "hosts", "2 hosts have the role \"control-plane\", want 1, 3 or 5", func(c *Cluster) { c.Hosts[4].Roles = []Role{RoleEtcd} }},
		{"two control planes, and why", "", "", func(c *Cluster) { c.Hosts[4].Roles, c.TopologyReason = []Role{RoleEtcd}, "two sites" }},
		{"four members, and why", "", "", func(c *Cluster) {
			c.Hosts[5].Roles, c.TopologyReason = append(c.Hosts[5].Roles, RoleEtcd), "one leaves soon"
		}},
		{"reason of two lines", "topologyReason", "line", func(c *Cluster) { c.TopologyReason = "a\nb" }},
		{"no VIP", "loadBalancer.vip", "none given", func(c *Cluster) { c.LoadBalancer.VIP = "" }},
		{"VIP is a name", "loadBalancer.vip", "host name", func(c *Cluster) { c.LoadBalancer.VIP = "k8s.example.com" }},
		{"VIP of a host", "loadBalancer.vip", "already that of hosts[3]", func(c *Cluster) { c.LoadBalancer.VIP = "10.0.0.14" }},
		{"VIP in a range", "loadBalancer.vip", "service range", func(c *Cluster) { c.LoadBalancer.VIP = "10.96.0.9" }},
		{"endpoint elsewhere", "controlPlane.endpoint", "want a name of loadBalancer.vip", func(c *Cluster) { c.ControlPlane.Endpoint = "10.0.0.13:6443" }},
		{"endpoint with another port", "controlPlane.endpoint", "found port 443, want 6443", func(c *Cluster) { c.ControlPlane.Endpoint = "k8s.example.com:443" }},
		{"port", "loadBalancer.port", "65535", func(c *Cluster) { c.LoadBalancer.Port = 65536 }},
		{"negative port", "loadBalancer.port", "65535", func(c *Cluster) { c.LoadBalancer.Port = -1 }},
		{"balancers are control planes", "", "", func(c *Cluster) {
			c.Hosts = c.Hosts[2:]
			c.Hosts[0].Roles, c.Hosts[1].Roles = append(c.Hosts[0].Roles, RoleLoadBalancer), append(c.Hosts[1].Roles, RoleLoadBalancer)
		}},
		{"port of an API server", "loadBalancer.port", "6443 is in use on h-2", func(c *Cluster) {
			c.Hosts = c.Hosts[2:]
			c.Hosts[0].Roles, c.Hosts[1].Roles = append(c.Hosts[0].Roles, RoleLoadBalancer), append(c.Hosts[1].Roles, RoleLoadBalancer)
			c.LoadBalancer.Port = 6443
		}},
		{"port of haproxy's answers", "loadBalancer.port", "6445 is in use on h-0", func(c *Cluster) { c.LoadBalancer.Port = 6445 }},
		{"node port", "loadBalancer.port", "range of node ports", func(c *Cluster) {
			c.Hosts[5].Roles, c.LoadBalancer.Port = append(c.Hosts[5].Roles, RoleLoadBalancer), 30443
		}},
		{"interface", "loadBalancer.interface", "eth0", func(c *Cluster) { c.LoadBalancer.Interface = "eth0 }" }},
		{"VRRP id", "loadBalancer.vrrpID", "1 to 255", func(c *Cluster) { c.LoadBalancer.VRRPID = 256 }},
		{"external", "", "", func(c *Cluster) {
			c.Hosts, c.LoadBalancer, c.ControlPlane.Endpoint = c.Hosts[2:], LoadBalancer{Mode: BalanceExternal}, "k8s.example.com:443"
		}},
		{"external without endpoint", "controlPlane.endpoint", "address of the balancer", func(c *Cluster) {
			c.Hosts, c.LoadBalancer = c.Hosts[2:], LoadBalancer{Mode: BalanceExternal}
		}},
		{"node-local", "", "", func(c *Cluster) { c.Hosts, c.LoadBalancer = c.Hosts[2:], LoadBalancer{Mode: BalanceNodeLocal} }},
		{"node-local with a VIP", "loadBalancer.vip", "does nothing", func(c *Cluster) { c.Hosts, c.LoadBalancer.Mode = c.Hosts[2:], BalanceNodeLocal }},
		{"external with the role", "hosts[1].roles[0]", "does nothing with loadBalancer.mode external", func(c *Cluster) {
			c.LoadBalancer, c.ControlPlane.Endpoint = LoadBalancer{Mode: BalanceExternal}, "k8s.example.com:443"
			c.Hosts[0].Roles = []Role{RoleWorker}
		}},
		{"VIP without balancers", "loadBalancer.vip", "does nothing", func(c *Cluster) {
			c.Hosts = c.Hosts[4:]
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := six()
			tt.change(c)
			problems := c.Validate()
			found := slices.ContainsFunc(problems, func(p strict.Problem) bool { return p.Path == tt.path && strings.Contains(p.Message, tt.want) })
			if tt.want == "" && len(problems) > 0 || tt.want != "" && (!found || len(problems) > 1) {
				t.Errorf("got %v, want %q at %q alone", problems, tt.want, tt.path)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	tests := []struct {
		name, users, nodes string
		change             func(*Cluster)
	}{
		{"hosts", "10.0.0.10:6443", "10.0.0.10:6443", func(*Cluster) {}},
		{"on control planes", "10.0.0.10:8443", "10.0.0.10:8443", func(c *Cluster) { c.Hosts[2].Roles = append(c.Hosts[2].Roles, RoleLoadBalancer) }},
		{"a name", "k8s.example.com:6443", "k8s.example.com:6443", func(c *Cluster) { c.ControlPlane.Endpoint = "k8s.example.com:6443" }},
		{"node-local", "10.0.0.13:6443", "127.0.0.1:6444", func(c *Cluster) { c.Hosts, c.LoadBalancer = c.Hosts[2:], LoadBalancer{Mode: BalanceNodeLocal} }},
		{"one control plane", "10.0.0.15:6443", "10.0.0.15:6443", func(c *Cluster) { c.Hosts, c.LoadBalancer = c.Hosts[4:], LoadBalancer{} }},
	}
	for _, tt := range tests {
		c := six()
		tt.change(c)
		if c.Endpoint() != tt.users || c.NodeEndpoint() != tt.nodes {
			t.Errorf("%s: users dial %s, nodes %s; want %s and %s", tt.name, c.Endpoint(), c.NodeEndpoint(), tt.users, tt.nodes)
		}
	}
}
