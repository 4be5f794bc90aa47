package stage

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/manifests"
)

// vip returns the address that moves between the balancers, and reports whether the
// cluster has one.
func (in Input) vip() (netip.Addr, bool) {
	if in.Cluster.Balancing() != manifests.BalanceHosts {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(in.Cluster.LoadBalancer.VIP)
	return a.Unmap(), err == nil
}

// balancerInterface returns the interface of a balancer that gets the virtual address, ""
// if it is not known.
func (in Input) balancerInterface(h manifests.Host) string {
	own, _ := in.Facts[h.Name].Interface(h.Address)
	return cmp.Or(in.Cluster.LoadBalancer.Interface, own.Interface)
}

// networks returns the IPv4 networks of an interface. The virtual address itself is none.
func networks(f facts.Facts, name string, vip netip.Addr) (out []netip.Prefix) {
	for _, a := range f.Addresses {
		if a.Interface == name && a.Prefix.Addr().Is4() && a.Prefix.Addr() != vip {
			out = append(out, a.Prefix.Masked())
		}
	}
	return out
}

// inNetwork reports whether a host of the network can have the address.
func inNetwork(p netip.Prefix, a netip.Addr) bool {
	last := a.Next().IsValid() && !p.Contains(a.Next())
	return p.Contains(a) && (p.Bits() >= 31 || a != p.Addr() && !last)
}

// vipProbes asks whether another host has the virtual address. It is empty on a cluster whose balancers
// work, so that the next run does not wait for answers.
func (in Input) vipProbes() map[string][]probe.Probe {
	vip, ok := in.vip()
	if !ok {
		return nil
	}
	known := slices.ContainsFunc(in.Cluster.Hosts, func(h manifests.Host) bool {
		_, has := in.Facts[h.Name].Interface(vip.String())
		return has
	})
	// One that leaves may have the address still; its facts are not known.
	known = known || len(in.exBalancers()) > 0
	out := map[string][]probe.Probe{}
	for _, h := range in.Cluster.HostsWith(manifests.RoleLoadBalancer) {
		name := in.balancerInterface(h)
		if len(networks(in.Facts[h.Name], name, vip)) == 0 {
			continue // a check says so
		}
		if !known {
			out[h.Name] = append(out[h.Name], probe.Probe{Kind: probe.Neighbor, Interface: name, Address: vip})
		}
		if !in.wasBalancer(h.Name) {
			out[h.Name] = append(out[h.Name], probe.Probe{Kind: probe.VRRP, Interface: name})
		}
	}
	return out
}

// wasBalancer reports whether a host is a balancer of this cluster since an earlier run.
func (in Input) wasBalancer(host string) bool {
	f := in.Facts[host]
	return installed(in, f) && slices.Contains(f.Installed.Roles, string(manifests.RoleLoadBalancer))
}

// exBalancers returns the balancers that leave cluster.yaml.
func (in Input) exBalancers() []manifests.Host {
	return slices.DeleteFunc(Leaving(in), func(h manifests.Host) bool { return !h.HasRole(manifests.RoleLoadBalancer) })
}

// checkBalancers checks that the balancers can have the virtual address and that nobody
// else has it, as far as facts and answers are there.
func checkBalancers(c *checks, in Input) {
	vip, ok := in.vip()
	if !ok {
		return
	}
	for _, h := range in.Cluster.Hosts {
		c.host = h.Name
		f, ok := in.Facts[h.Name]
		if !ok {
			continue
		}
		if h.HasRole(manifests.RoleLoadBalancer) {
			checkLink(c, in, h, f, vip)
		}
		if own, has := f.Interface(vip.String()); has {
			c.require(in.wasBalancer(h.Name), vipFree(vip, fmt.Sprintf("on %s of this host", own.Interface)))
		}
		for _, a := range in.Answers[h.Name] {
			switch a.Kind {
			case probe.Neighbor:
				checkFree(c, in, a)
			case probe.VRRP:
				checkRouters(c, in, a)
			}
		}
	}
}

// checkLink checks the interface of a balancer.
func checkLink(c *checks, in Input, h manifests.Host, f facts.Facts, vip netip.Addr) {
	name := in.balancerInterface(h)
	if name == "" {
		return // the check "address" fails
	}
	nets := networks(f, name, vip)
	var others []string
	for _, a := range f.Addresses {
		if a.Prefix.Addr().Is4() && !a.Prefix.Addr().IsLoopback() && !slices.Contains(others, a.Interface) {
			others = append(others, a.Interface)
		}
	}
	there := Check{Name: "vip-interface", Found: name}
	if len(nets) == 0 {
		there.Found += ", which is not there or has no IPv4 address"
		there.Want = "one of " + strings.Join(others, ", ")
		there.Hint = "correct loadBalancer.interface"
	}
	c.require(len(nets) > 0, there)
	if len(nets) == 0 {
		return
	}
	fits := slices.ContainsFunc(nets, func(p netip.Prefix) bool { return inNetwork(p, vip) })
	network := Check{Name: "vip-network", Found: fmt.Sprintf("%s on %s", vip, name)}
	if !fits {
		network.Want = fmt.Sprintf("an address of a host in %s", nets[0])
		network.Hint = "choose a free one for loadBalancer.vip, or set loadBalancer.interface"
	}
	c.require(fits, network)
}

func vipFree(vip netip.Addr, found string) Check {
	return Check{
		Name: "vip-free", Found: vip.String() + " " + found, Want: "an address that nobody uses",
		Hint: "choose another loadBalancer.vip, or take this one from that machine",
	}
}

// checkFree checks the answer to the question for the virtual address.
func checkFree(c *checks, in Input, a probe.Answer) {
	if a.Error != "" {
		c.recommend(false, vipFree(a.Address, "not asked for: "+a.Error))
		return
	}
	if len(a.Stations) == 0 {
		c.require(true, vipFree(a.Address, "not in use"))
		return
	}
	mac := a.Stations[0].MAC
	owner := in.hostOf(func(x facts.Address) bool { return x.MAC == mac })
	found := "in use by " + mac
	if owner != "" {
		found += ", " + owner
	}
	if missing := in.unseenBalancers(); owner == "" && len(missing) > 0 {
		c.recommend(false, vipFree(a.Address, found+", unless that is "+strings.Join(missing, " or ")))
		return
	}
	c.require(in.wasBalancer(owner), vipFree(a.Address, found))
}

// hostOf returns the host with an interface that satisfies the condition, "" if none is
// known.
func (in Input) hostOf(has func(facts.Address) bool) string {
	for _, h := range in.Cluster.Hosts {
		if slices.ContainsFunc(in.Facts[h.Name].Addresses, has) {
			return h.Name
		}
	}
	return ""
}

// unseenBalancers returns the balancers without facts.
func (in Input) unseenBalancers() (out []string) {
	for _, h := range in.Cluster.HostsWith(manifests.RoleLoadBalancer) {
		if _, ok := in.Facts[h.Name]; !ok {
			out = append(out, h.Name)
		}
	}
	return out
}

// checkRouters checks that no other router on the link has the number of the balancers.
func checkRouters(c *checks, in Input, a probe.Answer) {
	id := in.Cluster.VRRPID()
	check := Check{
		Name: "vrrp-id", Found: fmt.Sprintf("%d, not in use on %s", id, a.Interface), Want: "a number that no other router uses",
	}
	if a.Error != "" {
		check.Found = fmt.Sprintf("%d, without knowledge of others: %s", id, a.Error)
		c.recommend(false, check)
		return
	}
	var others []string
	heard := []int{id}
	for _, s := range a.Stations {
		heard = append(heard, s.VRRPID)
		if s.VRRPID == id && !in.balances(s.Address) {
			others = append(others, s.Address.String())
		}
	}
	free := id%255 + 1
	for slices.Contains(heard, free) && free != id {
		free = free%255 + 1
	}
	if len(others) > 0 {
		check.Found = fmt.Sprintf("%d, in use on %s by %s", id, a.Interface, strings.Join(others, ", "))
		check.Hint = fmt.Sprintf("set loadBalancer.vrrpID, for example to %d", free)
	}
	c.require(len(others) == 0, check)
}

// balances reports whether the address is of a balancer that this cluster has, or had.
func (in Input) balances(a netip.Addr) bool {
	if in.wasBalancer(in.hostOf(func(x facts.Address) bool { return x.Prefix.Addr() == a })) {
		return true
	}
	return slices.ContainsFunc(slices.Concat(in.exBalancers(), in.Cluster.HostsWith(manifests.RoleLoadBalancer)), func(h manifests.Host) bool {
		_, seen := in.Facts[h.Name]
		return !seen && h.Address == a.String()
	})
}
