package manifests

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/offk8s/offk8s/manifests/strict"
)

// LoadBalancer is the way to the API servers of several control planes. All fields but
// Mode belong to BalanceHosts.
type LoadBalancer struct {
	// Mode is hosts, external or node-local. If it is empty and a host has the role
	// load-balancer, it is hosts.
	Mode string `yaml:"mode,omitempty" json:"mode,omitempty"`
	// VIP is the address that moves between the balancers.
	VIP  string `yaml:"vip,omitempty" json:"vip,omitempty"`
	Port int    `yaml:"port,omitempty" json:"port,omitempty"` // port of the balancers; default 6443, or 8443 if a balancer is a control plane too
	// Interface gets the VIP; if it is empty, the interface with the host's address.
	Interface string `yaml:"interface,omitempty" json:"interface,omitempty"`
	// VRRPID is the number of the virtual router on the network, 1 to 255 (RFC 5798,
	// section 5.2.3); default 51.
	VRRPID int `yaml:"vrrpID,omitempty" json:"vrrpID,omitempty"`
}

// The modes.
const (
	BalanceHosts     = "hosts"      // hosts with the role load-balancer share a virtual address
	BalanceExternal  = "external"   // a balancer that offk8s does not manage, at controlPlane.endpoint
	BalanceNodeLocal = "node-local" // a proxy on every node
)

const (
	// LocalAPIPort is the port of the proxy on every node, on 127.0.0.1.
	LocalAPIPort   = "6444"
	sharedHostPort = "8443"
	defaultVRRPID  = 51
)

// Balancing returns the mode in force, "" if nodes connect to the only control plane.
func (c *Cluster) Balancing() string {
	if c.LoadBalancer.Mode == "" && len(c.HostsWith(RoleLoadBalancer)) > 0 {
		return BalanceHosts
	}
	return c.LoadBalancer.Mode
}

// BalancerPort returns the port of the balancers.
func (c *Cluster) BalancerPort() string {
	switch {
	case c.LoadBalancer.Port != 0:
		return strconv.Itoa(c.LoadBalancer.Port)
	case slices.ContainsFunc(c.HostsWith(RoleLoadBalancer), func(h Host) bool { return h.HasRole(RoleControlPlane) }):
		return sharedHostPort
	}
	return DefaultAPIPort
}

// VRRPID returns the number of the virtual router, 1 to 255.
func (c *Cluster) VRRPID() int {
	if c.LoadBalancer.VRRPID == 0 {
		return defaultVRRPID
	}
	return c.LoadBalancer.VRRPID
}

// NodeEndpoint returns the host:port that the daemons of nodes dial: that of their own
// proxy, or Endpoint.
func (c *Cluster) NodeEndpoint() string {
	if c.Balancing() == BalanceNodeLocal {
		return net.JoinHostPort("127.0.0.1", LocalAPIPort)
	}
	return c.Endpoint()
}

func (c *Cluster) validateTopology(ck *strict.Checks) {
	known := func(r Role) bool {
		return slices.Contains([]Role{RoleControlPlane, RoleEtcd, RoleWorker, RoleLoadBalancer}, r)
	}
	for _, h := range c.Hosts {
		if slices.ContainsFunc(h.Roles, func(r Role) bool { return !known(r) }) {
			return // it may be the one that would be missing
		}
	}
	ck.OneLine("topologyReason", c.TopologyReason)
	if len(c.Hosts) == 0 {
		return
	}
	const several = "a host may have several roles"
	for _, r := range []Role{RoleControlPlane, RoleWorker} {
		if len(c.HostsWith(r)) == 0 {
			ck.AddHint("hosts", several, "no host has the role %q", r)
		}
	}
	c.validateCount(ck, RoleEtcd, "an even number survives no more failures than one member less")
	c.validateCount(ck, RoleControlPlane, "with two, the one that is left has to carry all, as with one")
	c.validateBalancing(ck)
}

// validateCount checks the number of hosts of a role, of which a majority should be left
// after a failure.
func (c *Cluster) validateCount(ck *strict.Checks, r Role, even string) {
	n := len(c.HostsWith(r))
	if n == 1 || n == 3 || n == 5 || n > 0 && c.TopologyReason != "" || n == 0 && r != RoleEtcd {
		return
	}
	hint := ""
	if n > 0 && n%2 == 0 {
		hint = even + "; if it has to be, set topologyReason"
	}
	ck.AddHint("hosts", hint, "%d hosts have the role %q, want 1, 3 or 5", n, r)
}

// validateBalancing checks that the control planes can be reached in exactly one way.
func (c *Cluster) validateBalancing(ck *strict.Checks) {
	lb, balancers := c.LoadBalancer, c.HostsWith(RoleLoadBalancer)
	if n := len(ck.Problems); lb.Mode != "" {
		if ck.Among("loadBalancer.mode", lb.Mode, BalanceHosts, BalanceExternal, BalanceNodeLocal); len(ck.Problems) > n {
			return // nothing fits an unknown mode
		}
	}
	mode := c.Balancing()
	if mode != BalanceHosts {
		c.validateUnusedBalancer(ck, mode)
	}
	switch mode {
	case BalanceHosts:
		if n := len(balancers); n == 0 || n == 1 && c.TopologyReason == "" {
			ck.AddHint("hosts", "if one goes down, another takes its address", "%d hosts have the role %q, want 2", n, RoleLoadBalancer)
		}
		c.validateVIP(ck)
		c.validateBalancerPort(ck)
		if lb.Interface != "" {
			ck.Match("loadBalancer.interface", lb.Interface, interfaceName.MatchString, "the name of a network interface such as eth0")
		}
		if lb.VRRPID < 0 || lb.VRRPID > 255 {
			ck.Add("loadBalancer.vrrpID", "found %d, want 1 to 255", lb.VRRPID)
		}
	case BalanceExternal:
		if c.ControlPlane.Endpoint == "" {
			ck.Add("controlPlane.endpoint", "none given: with loadBalancer.mode %s it is the address of the balancer", mode)
		}
	case "":
		if n := len(c.HostsWith(RoleControlPlane)); n > 1 {
			ck.AddHint("hosts", "give two hosts the role load-balancer and set loadBalancer.vip, or set loadBalancer.mode to external or node-local",
				"%d hosts have the role %q and no load balancer is between them and the nodes", n, RoleControlPlane)
		}
	}
}

// validateUnusedBalancer refuses what has no effect in another mode than BalanceHosts.
func (c *Cluster) validateUnusedBalancer(ck *strict.Checks, mode string) {
	for i, h := range c.Hosts {
		if j := slices.Index(h.Roles, RoleLoadBalancer); j >= 0 && mode != "" {
			ck.AddHint(fmt.Sprintf("hosts[%d].roles[%d]", i, j), "remove the role, or the mode", "the role %q does nothing with loadBalancer.mode %s", RoleLoadBalancer, mode)
		}
	}
	lb := c.LoadBalancer
	fields := []struct {
		name string
		set  bool
	}{{"vip", lb.VIP != ""}, {"port", lb.Port != 0}, {"interface", lb.Interface != ""}, {"vrrpID", lb.VRRPID != 0}}
	for _, f := range fields {
		if f.set {
			ck.AddHint("loadBalancer."+f.name, "give two hosts the role load-balancer, or remove the field", "does nothing without hosts that have the role %q", RoleLoadBalancer)
		}
	}
}

func (c *Cluster) validateVIP(ck *strict.Checks) {
	const field = "loadBalancer.vip"
	if c.LoadBalancer.VIP == "" {
		ck.AddHint(field, "choose a free address in the network of the balancers", "none given: it is the address that moves between the balancers")
		return
	}
	a, ok := checkAddress(ck, field, c.LoadBalancer.VIP)
	if !ok {
		return
	}
	for i, h := range c.Hosts {
		if b, err := netip.ParseAddr(h.Address); err == nil && a == b.Unmap() {
			ck.AddHint(field, "choose a free address in the network of the balancers", "%s is already that of hosts[%d]", a, i)
		}
	}
	if host, _, err := net.SplitHostPort(c.ControlPlane.Endpoint); err == nil {
		if b, err := netip.ParseAddr(host); err == nil && a != b.Unmap() {
			ck.AddHint("controlPlane.endpoint", "remove it: by default it is the virtual address", "found %s, want a name of loadBalancer.vip, or %s itself", host, a)
		}
	}
}

// validateBalancerPort checks that the balancers' port is free on their hosts, and that
// of the endpoint.
func (c *Cluster) validateBalancerPort(ck *strict.Checks) {
	const field = "loadBalancer.port"
	n := port(c.BalancerPort())
	if n < 1 || n > 65535 {
		ck.Add(field, "found %d, want 1 to 65535", n)
		return
	}
	for _, h := range c.HostsWith(RoleLoadBalancer) {
		others := c.TCPPorts(h)
		if others = others[:len(others)-1]; slices.Contains(others, n) { // the last is n itself
			ck.AddHint(field, "choose another one such as "+sharedHostPort, "%d is in use on %s by another daemon", n, h.Name)
			break
		}
		var from, to int
		if _, err := fmt.Sscanf(c.NodePorts(), "%d-%d", &from, &to); err == nil && h.IsNode() && from <= n && n <= to {
			ck.Add(field, "%d is in the range of node ports %s, and %s is a node", n, c.NodePorts(), h.Name)
			break
		}
	}
	if _, port, err := net.SplitHostPort(c.ControlPlane.Endpoint); err == nil && port != c.BalancerPort() {
		ck.Add("controlPlane.endpoint", "found port %s, want %s, which is that of the balancers", port, c.BalancerPort())
	}
}

// interfaceName is narrow, since the name ends up in configuration files. The kernel
// allows 15 bytes.
var interfaceName = strict.NewPattern(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
