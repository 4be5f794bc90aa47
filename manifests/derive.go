package manifests

import (
	"fmt"
	"net/netip"
	"strings"
)

// Defaults of a Cluster; they are what an empty field means.
const (
	DefaultPodCIDR     = "10.244.0.0/16"
	DefaultServiceCIDR = "10.96.0.0/16"
	DefaultDNSDomain   = "cluster.local"
	DefaultProxyMode   = "iptables"
	DefaultAPIPort     = "6443"
	DefaultCgroup      = "systemd"
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
