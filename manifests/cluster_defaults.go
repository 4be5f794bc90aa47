package manifests

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/offk8s/offk8s/manifests/catalog"
)

// Defaults of the empty fields of a Cluster.
const (
	defaultPodCIDR     = "10.244.0.0/16"
	defaultServiceCIDR = "10.96.0.0/16"
	defaultDNSDomain   = "cluster.local"
	defaultProxyMode   = ProxyIPTables
	DefaultAPIPort     = "6443"
	defaultNodePorts   = "30000-32767"
	defaultCgroup      = "systemd"
	defaultMaxSkew     = "60s"
)

// PodCIDR returns the range that pods get their addresses from, or two with a comma
// between them, as flags of Kubernetes have them.
func (c *Cluster) PodCIDR() string { return cmp.Or(c.Network.PodCIDR, defaultPodCIDR) }

// ServiceCIDR returns the range that services get their addresses from, or two as
// PodCIDR does.
func (c *Cluster) ServiceCIDR() string { return cmp.Or(c.Network.ServiceCIDR, defaultServiceCIDR) }

// PodCIDRs returns the ranges of PodCIDR: one, or one for IPv4 and then one for IPv6.
func (c *Cluster) PodCIDRs() []string { return strings.Split(c.PodCIDR(), ",") }

// ServiceCIDRs returns the ranges of ServiceCIDR in the order of PodCIDRs.
func (c *Cluster) ServiceCIDRs() []string { return strings.Split(c.ServiceCIDR(), ",") }

// DualStack reports whether pods and services have addresses of both families.
func (c *Cluster) DualStack() bool { return len(c.PodCIDRs()) > 1 }

// DNSDomain returns the domain of the cluster's names.
func (c *Cluster) DNSDomain() string { return cmp.Or(c.Network.DNSDomain, defaultDNSDomain) }

// ProxyMode returns the mode of kube-proxy.
func (c *Cluster) ProxyMode() string { return cmp.Or(c.Network.ProxyMode, defaultProxyMode) }

// NodePorts returns the range of the ports of services on nodes.
func (c *Cluster) NodePorts() string {
	return cmp.Or(c.APIServer.Args["service-node-port-range"], defaultNodePorts)
}

// CgroupDriver returns the cgroup driver of the container runtime and the kubelet.
func (c *Cluster) CgroupDriver() string { return cmp.Or(c.Runtime.CgroupDriver, defaultCgroup) }

// Endpoint returns the host:port that users dial, or "" if the file has neither an
// endpoint nor a control plane.
func (c *Cluster) Endpoint() string {
	if c.ControlPlane.Endpoint != "" {
		return c.ControlPlane.Endpoint
	}
	if c.Balancing() == BalanceHosts {
		return net.JoinHostPort(c.LoadBalancer.VIP, c.BalancerPort())
	}
	for _, h := range c.Hosts {
		if h.HasRole(RoleControlPlane) {
			return net.JoinHostPort(h.Address, DefaultAPIPort)
		}
	}
	return ""
}

// SetDefaults fills every empty field with its default: the version of rel, the
// network, and the SSH settings of each host that the file has.
func (c *Cluster) SetDefaults(rel catalog.Release) {
	c.Kubernetes = cmp.Or(c.Kubernetes, rel.Version)
	n := &c.Network
	n.PodCIDR, n.ServiceCIDR, n.DNSDomain, n.ProxyMode = c.PodCIDR(), c.ServiceCIDR(), c.DNSDomain(), c.ProxyMode()
	c.Runtime.CgroupDriver = c.CgroupDriver()
	c.ControlPlane.Endpoint = c.Endpoint()
	c.Time.MaxSkew = cmp.Or(c.Time.MaxSkew, defaultMaxSkew)
	for i := range c.Hosts {
		c.Hosts[i].SSH = c.Hosts[i].sshOver(c.SSH)
	}
}

// sshOver returns the SSH settings of h, with def for its empty fields.
func (h Host) sshOver(def SSH) SSH {
	s := h.SSH
	s.Address = cmp.Or(s.Address, h.Address)
	s.User = cmp.Or(s.User, def.User)
	s.KeyFile = cmp.Or(s.KeyFile, def.KeyFile)
	s.KnownHosts = cmp.Or(s.KnownHosts, def.KnownHosts)
	s.HostKey = cmp.Or(s.HostKey, def.HostKey)
	s.Port = cmp.Or(s.Port, def.Port)
	s.ProxyJump = cmp.Or(s.ProxyJump, def.ProxyJump)
	return s
}

// HostsWith returns the hosts with role r, in the order of the file.
func (c *Cluster) HostsWith(r Role) []Host {
	var out []Host
	for _, h := range c.Hosts {
		if h.HasRole(r) {
			out = append(out, h)
		}
	}
	return out
}

// Nodes returns the hosts that run a kubelet: control planes and workers.
func (c *Cluster) Nodes() []Host {
	var out []Host
	for _, h := range c.Hosts {
		if h.IsNode() {
			out = append(out, h)
		}
	}
	return out
}

// IsNode reports whether h runs a kubelet.
func (h Host) IsNode() bool { return h.HasRole(RoleControlPlane) || h.HasRole(RoleWorker) }

// ServiceIP returns the n-th address of the first service range: 1 is the API, 10 is DNS.
func (c *Cluster) ServiceIP(n int) (string, error) {
	first := c.ServiceCIDRs()[0]
	p, err := netip.ParsePrefix(first)
	if err != nil {
		return "", fmt.Errorf("service range %q: %w", first, err)
	}
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	if !p.Contains(a) {
		return "", fmt.Errorf("service range %q has no address number %d", first, n)
	}
	return a.String(), nil
}
