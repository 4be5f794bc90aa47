package manifests

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Modes of kube-proxy.
const (
	ProxyIPTables = "iptables"
	ProxyIPVS     = "ipvs"
	ProxyNFTables = "nftables"
)

// IsolateNamespaces is the value of network.isolation.
const IsolateNamespaces = "namespaces"

// proxyModes are the modes of kube-proxy that a Release without a list has.
var proxyModes = []string{ProxyIPTables, ProxyIPVS}

// CheckNetwork returns the problems of network in c that only the bundle of lock shows:
// options that its pod network does not have, and a mode of kube-proxy that its Kubernetes
// does not have.
func (c *Cluster) CheckNetwork(lock *Lock) []strict.Problem {
	ck := &strict.Checks{}
	var settings map[string]any
	settings, ck.Problems = lock.CNIRelease.Settings(c.Network.Options)
	network, err := lock.CNIRelease.With(settings)
	if err != nil && len(ck.Problems) == 0 {
		ck.Add("network.options", "%v", err)
	}
	modes := proxyModes
	if len(lock.Release.ProxyModes) > 0 {
		modes = slices.Sorted(maps.Keys(lock.Release.ProxyModes))
	}
	switch mode := c.ProxyMode(); {
	case !slices.Contains(modes, mode):
		ck.Add("network.proxyMode", "kube-proxy of Kubernetes %s has no mode %s, want one of %s", lock.Kubernetes, mode, strings.Join(modes, ", "))
	case network.ReplacesKubeProxy && mode != defaultProxyMode:
		ck.Add("network.proxyMode", "there is no kube-proxy with the pod network %s, which is the proxy of services too", lock.CNI)
	}
	if c.Network.Isolation != "" && !lock.CNIRelease.Policies {
		ck.AddHint("network.isolation", "pack a bundle with --cni and one of "+strings.Join(policyNetworks(lock.Minor), ", "),
			"the pod network %s of the bundle does not enforce NetworkPolicy", lock.CNI)
	}
	c.checkDualStack(ck, lock)
	return ck.Problems
}

// checkDualStack checks that the bundle has Kubernetes and a pod network with both
// families.
func (c *Cluster) checkDualStack(ck *strict.Checks, lock *Lock) {
	const one = "use one range of IPv4, and no hosts[].secondAddress"
	switch {
	case !c.DualStack():
	case !lock.CNIRelease.DualStack: // first, since bundles that an older offk8s packed say so of every release
		ck.AddHint("network.podCIDR", one+", or pack a bundle of 1.21 or later with --cni flannel",
			"the pod network %s %s of the bundle has one address family", lock.CNI, lock.CNIRelease.Version)
	case !lock.Release.Features.DualStack:
		ck.AddHint("network.podCIDR", one, "Kubernetes %s of the bundle has IPv4 and IPv6 together only behind a feature gate, with another API: want 1.21 or later", lock.Kubernetes)
	}
}

// policyNetworks returns the pod networks of the catalog that enforce NetworkPolicy.
func policyNetworks(minor string) []string {
	cat, err := catalog.Embedded()
	if err != nil {
		return nil // this list is only a hint
	}
	var out []string
	for _, name := range cat.CNINames() {
		n, err := cat.CNI(name)
		if r, none := n.For(minor); err == nil && none == nil && r.Policies {
			out = append(out, name)
		}
	}
	return out
}

// ClusterError returns an error with the problems of a cluster.yaml at their lines, nil
// if there are none; name and data are those of LoadCluster.
func ClusterError(name string, data []byte, problems []strict.Problem) error {
	d := strict.New(name, APIVersion, KindCluster)
	d.Decode(data, &Cluster{})
	d.Report(problems)
	return d.Err()
}

func (c *Cluster) validateNetwork(ck *strict.Checks) {
	if m := c.Network.ProxyMode; m != "" {
		ck.Among("network.proxyMode", m, ProxyIPTables, ProxyIPVS, ProxyNFTables)
	}
	if i := c.Network.Isolation; i != "" {
		ck.Among("network.isolation", i, IsolateNamespaces)
		if c.DualStack() {
			ck.Add("network.isolation", "found two ranges in network.podCIDR, want one of IPv4: the isolation says nothing about IPv6")
		}
	}
	if d := c.Network.DNSDomain; d != "" {
		ck.Match("network.dnsDomain", d, strict.IsDNSName, "a DNS domain")
	}
	pods, okPods := checkCIDRs(ck, "network.podCIDR", c.PodCIDRs())
	services, okServices := checkCIDRs(ck, "network.serviceCIDR", c.ServiceCIDRs())
	if okPods {
		c.sameFamily(ck, pods[0])
		for _, p := range pods {
			c.outside(ck, "pod", p)
			c.podRoom(ck, p)
		}
	}
	if okServices {
		for _, s := range services {
			c.outside(ck, "service", s)
			// The API server takes ranges of at most 20 bits; address 10 is DNS.
			if free := s.Addr().BitLen() - s.Bits(); free > 20 || free < 4 {
				ck.Add("network.serviceCIDR", "%s: want 4 to 20 bits of addresses, such as a /16 or, of IPv6, a /112", s)
			}
		}
	}
	switch {
	case !okPods || !okServices:
	case len(pods) != len(services):
		ck.Add("network.serviceCIDR", "found %d ranges, want %d as in network.podCIDR", len(services), len(pods))
	default:
		for i := range pods {
			if pods[i].Addr().Is4() != services[i].Addr().Is4() {
				ck.Add("network.serviceCIDR", "%s and the pods' %s are of different address families", services[i], pods[i])
			}
			if pods[i].Overlaps(services[i]) {
				ck.Add("network.serviceCIDR", "%s overlaps the pods' %s", services[i], pods[i])
			}
		}
	}
}

// checkCIDRs checks one range, or a range for IPv4 and then one for IPv6. The second
// result reports whether they can be used for more checks.
func checkCIDRs(ck *strict.Checks, path string, list []string) ([]netip.Prefix, bool) {
	var out []netip.Prefix
	for _, s := range list {
		p, ok := checkCIDR(ck, path, s)
		if !ok {
			return nil, false
		}
		out = append(out, p)
	}
	if len(out) > 2 || len(out) == 2 && (!out[0].Addr().Is4() || !out[1].Addr().Is6()) {
		ck.Add(path, "found %q, want one range, or one of IPv4 and then one of IPv6", strings.Join(list, ","))
		return nil, false
	}
	return out, true
}

// validateSecond checks the second address of hosts[i]: every node of a cluster with both
// families has one, and no other host, where it would do nothing.
func (c *Cluster) validateSecond(ck *strict.Checks, p string, h Host, i int, addresses map[netip.Addr]int) {
	p += ".secondAddress"
	switch wanted := c.DualStack() && h.IsNode(); {
	case h.SecondAddress == "" && wanted:
		ck.Add(p, "missing: nodes of a cluster with two ranges in network.podCIDR have an IPv6 address")
	case h.SecondAddress == "":
	case !wanted:
		ck.Add(p, "does nothing: it is for nodes of a cluster with two ranges in network.podCIDR")
	default:
		a, ok := checkAddress(ck, p, h.SecondAddress)
		if !ok {
			return
		}
		if !a.Is6() {
			ck.Add(p, "found %q, want an IPv6 address", h.SecondAddress)
		}
		if j, dup := addresses[a]; dup {
			ck.Add(p, "%q is already that of hosts[%d]", h.SecondAddress, j)
		}
		addresses[a] = i
	}
}

func checkCIDR(ck *strict.Checks, path, s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		ck.Add(path, "found %q, want a range such as 10.244.0.0/16", s)
		return p, false
	}
	if p != p.Masked() {
		ck.Add(path, "%s has bits beyond its mask, want %s", s, p.Masked())
	}
	if p = p.Masked(); !p.Addr().IsGlobalUnicast() || p.Addr().Is4In6() {
		ck.Add(path, "found %q, want a range of unicast addresses such as 10.244.0.0/16", s)
		return p, false
	}
	return p, true
}

// outside checks that no address which hosts use is in a range of the cluster.
func (c *Cluster) outside(ck *strict.Checks, what string, p netip.Prefix) {
	check := func(path, s string) {
		if a, err := netip.ParseAddr(s); err == nil && p.Contains(a.Unmap()) {
			ck.Add(path, "%s is in the %s range %s", s, what, p)
		}
	}
	for i, h := range c.Hosts {
		check(fmt.Sprintf("hosts[%d].address", i), h.Address)
		check(fmt.Sprintf("hosts[%d].secondAddress", i), h.SecondAddress)
	}
	for p, raw := range c.Mirror.named() {
		if u, err := url.Parse(raw); err == nil {
			check(p, u.Hostname())
		}
	}
	if host, _, err := net.SplitHostPort(c.ControlPlane.Endpoint); err == nil {
		check("controlPlane.endpoint", host)
	}
	check("loadBalancer.vip", c.LoadBalancer.VIP)
	for i, s := range c.Time.Servers {
		check(fmt.Sprintf("time.servers[%d]", i), s)
	}
}

// sameFamily checks that the hosts and the range of the pods have addresses of one
// family.
func (c *Cluster) sameFamily(ck *strict.Checks, pods netip.Prefix) {
	first := netip.Addr{}
	for i, h := range c.Hosts {
		a, err := netip.ParseAddr(h.Address)
		switch a = a.Unmap(); {
		case err != nil:
		case !first.IsValid():
			first = a
		case a.Is4() != first.Is4():
			ck.Add(fmt.Sprintf("hosts[%d].address", i), "%s and %s of another host are of different address families", a, first)
		}
	}
	if first.IsValid() && first.Is4() != pods.Addr().Is4() {
		ck.Add("network.podCIDR", "%s and the hosts' addresses are of different address families", pods)
	}
}

// podRoom checks that every node gets its part of the pod range: the controller
// manager divides it into at most 65536 ranges, /24 for IPv4 and /64 for IPv6.
func (c *Cluster) podRoom(ck *strict.Checks, p netip.Prefix) {
	each := 24
	if p.Addr().Is6() {
		each = 64
	}
	switch n := len(c.Nodes()); {
	case p.Bits() < each-16:
		ck.Add("network.podCIDR", "%s is too large, want /%d or smaller", p, each-16)
	case p.Bits() > each || n > 1<<(each-p.Bits()):
		ck.Add("network.podCIDR", "%s has no /%d for each of %d nodes", p, each, n)
	}
}
