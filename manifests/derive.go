package manifests

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/offk8s/offk8s/manifests/catalog"
)

// Defaults of a Cluster; they are what an empty field means.
const (
	DefaultPodCIDR     = "10.244.0.0/16"
	DefaultServiceCIDR = "10.96.0.0/16"
	DefaultDNSDomain   = "cluster.local"
	DefaultProxyMode   = "iptables"
	DefaultAPIPort     = "6443"
	DefaultCgroup      = "systemd"
	DefaultMaxSkew     = "60s"
	DefaultSSHPort     = 22
	DefaultSSHUser     = "root"
)

// PodCIDR is the range pods get their addresses from.
func (c *Cluster) PodCIDR() string { return orDefault(c.Network.PodCIDR, DefaultPodCIDR) }

// ServiceCIDR is the range services get their addresses from.
func (c *Cluster) ServiceCIDR() string { return orDefault(c.Network.ServiceCIDR, DefaultServiceCIDR) }

// DNSDomain is the domain of the cluster's own names.
func (c *Cluster) DNSDomain() string { return orDefault(c.Network.DNSDomain, DefaultDNSDomain) }

// ProxyMode is kube-proxy's mode.
func (c *Cluster) ProxyMode() string { return orDefault(c.Network.ProxyMode, DefaultProxyMode) }

// CgroupDriver is that of the container runtime and the kubelet.
func (c *Cluster) CgroupDriver() string { return orDefault(c.Runtime.CgroupDriver, DefaultCgroup) }

// Endpoint is the host:port that nodes and users dial; empty when there is
// neither one in the file nor a control plane.
func (c *Cluster) Endpoint() string {
	if c.ControlPlane.Endpoint != "" {
		return c.ControlPlane.Endpoint
	}
	for _, h := range c.Hosts {
		if h.HasRole(RoleControlPlane) {
			return joinHostPort(h.Address, DefaultAPIPort)
		}
	}
	return ""
}

// SetDefaults writes into every empty field what it means: the version of rel,
// the network, and for each host how it is reached. A Cluster read from a file
// stays as it was written until then.
func (c *Cluster) SetDefaults(rel catalog.Release) {
	c.Kubernetes = orDefault(c.Kubernetes, rel.Version)
	c.Network = ClusterNetwork{c.PodCIDR(), c.ServiceCIDR(), c.DNSDomain(), c.ProxyMode()}
	c.Runtime.CgroupDriver = c.CgroupDriver()
	c.ControlPlane.Endpoint = c.Endpoint()
	c.Time.MaxSkew = orDefault(c.Time.MaxSkew, DefaultMaxSkew)
	for i := range c.Hosts {
		c.Hosts[i].SSH = c.Hosts[i].sshOver(c.SSH)
	}
}

// sshOver is how h is reached, with def for what h does not say.
func (h Host) sshOver(def SSH) SSH {
	s := h.SSH
	s.Address = orDefault(s.Address, h.Address)
	s.User = orDefault(s.User, orDefault(def.User, DefaultSSHUser))
	s.KeyFile = orDefault(s.KeyFile, def.KeyFile)
	s.KnownHosts = orDefault(s.KnownHosts, def.KnownHosts)
	s.HostKey = orDefault(s.HostKey, def.HostKey)
	for _, p := range []int{def.Port, DefaultSSHPort} {
		if s.Port == 0 {
			s.Port = p
		}
	}
	return s
}

// HostsWith returns the hosts that play r, in the order of the file.
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

// ServiceIP is the n-th address of the service range: 1 is that of the API, 10 that of DNS.
func (c *Cluster) ServiceIP(n int) (string, error) {
	p, err := netip.ParsePrefix(c.ServiceCIDR())
	if err != nil {
		return "", fmt.Errorf("service range %q: %w", c.ServiceCIDR(), err)
	}
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	if !p.Contains(a) {
		return "", fmt.Errorf("service range %q has no address number %d", c.ServiceCIDR(), n)
	}
	return a.String(), nil
}

func joinHostPort(host, port string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]:" + port
	}
	return host + ":" + port
}

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}
