package stage

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/manifests"
)

// A cluster that runs keeps some settings for good. These checks refuse others before any
// host is changed, since a run that finds them on its way leaves the cluster half changed.

// checkKept checks that a host of the cluster is the one that cluster.yaml means, and keeps
// the settings that cannot change. No setting makes it work otherwise, so that nothing turns
// these checks into warnings.
func checkKept(c *checks, in Input, h manifests.Host, f facts.Facts) {
	if !installed(in, f) {
		return
	}
	must := &checks{host: c.host}
	name := cmp.Or(f.Installed.Host, h.Name) // journals of older versions lack it
	must.require(name == h.Name, Check{
		Name: "same-host", Found: fmt.Sprintf("the host %q of the cluster", name), Want: fmt.Sprintf("%q", h.Name),
		Hint: "correct name and address in cluster.yaml, or ssh.address; a host gets another name only after it was reset (offk8s reset --host, with its former name)",
	})
	if name == h.Name {
		checkSameAddress(must, in, h, f)
		checkSettings(must, in, f.Settings)
	}
	c.list = append(c.list, must.list...)
}

// checkSameAddress refuses another address for a member of etcd with data: the others would
// look for it at the former one.
func checkSameAddress(c *checks, in Input, h manifests.Host, f facts.Facts) {
	if !h.HasRole(manifests.RoleEtcd) || !f.EtcdData {
		return
	}
	former := in.formerAddress(h)
	for _, m := range in.etcdMembers() {
		if m.Name == h.Name && len(m.PeerURLs) > 0 && !listed(in.etcdMembers(), h) {
			former = strings.TrimSuffix(strings.TrimPrefix(m.PeerURLs[0], "https://"), ":"+etcdPeerPort)
		}
	}
	c.require(former == "", Check{
		Name: "same-address", Found: cmp.Or(former, h.Address), Want: cmp.Or(former, h.Address) + ", at which the other members of etcd know this one",
		Hint: fmt.Sprintf("give the host its former address, not %s; or take it out of cluster.yaml, run install, and then add it with the new one", h.Address),
	})
}

// formerAddress returns the address that a host of this name had when cluster.yaml was
// applied last, "" if it is the same or there was none.
func (in Input) formerAddress(h manifests.Host) string {
	for _, m := range in.was() {
		if m.Name == h.Name && m.Address != h.Address {
			return m.Address
		}
	}
	return ""
}

func checkSettings(c *checks, in Input, has facts.Settings) {
	for _, s := range []struct {
		check     Check
		field     string
		has, want string
	}{
		{Check{Name: "same-networks", Hint: "nodes and pods have addresses of the former range"}, "network.podCIDR", has.PodCIDR, in.Cluster.PodCIDR()},
		{Check{Name: "same-networks", Hint: "services have addresses of the former range"}, "network.serviceCIDR", has.ServiceCIDR, in.Cluster.ServiceCIDR()},
		{Check{Name: "same-networks", Hint: "pods that run look for names in the former domain"}, "network.dnsDomain", has.DNSDomain, in.Cluster.DNSDomain()},
		{Check{Name: "same-cgroups", Hint: "pods that run have their cgroups as the former driver makes them"}, "runtime.cgroupDriver", has.CgroupDriver, in.Cluster.CgroupDriver()},
	} {
		if s.has == "" {
			continue
		}
		s.check.Found, s.check.Want = s.field+" "+s.want+" in cluster.yaml", s.has+", which the cluster has"
		s.check.Hint += ": write the former value into cluster.yaml; only a new installation, after reset, changes it"
		c.require(sameRanges(s.has, s.want), s.check)
	}
}

// sameRanges reports whether two lists of ranges are the same, however addresses are written.
func sameRanges(a, b string) bool {
	plain := func(list string) []string {
		out := strings.Split(list, ",")
		for i, s := range out {
			if p, err := netip.ParsePrefix(s); err == nil {
				out[i] = p.String()
			}
		}
		return out
	}
	return slices.Equal(plain(a), plain(b))
}

// checkVIPStays refuses another virtual address, or port, of balancers that run: nodes have
// no way to the API until each of them has the new one.
func checkVIPStays(c *checks, in Input) {
	vip, ok := in.vip()
	if !ok {
		return
	}
	want := net.JoinHostPort(vip.String(), in.Cluster.BalancerPort())
	for _, h := range in.Cluster.HostsWith(manifests.RoleLoadBalancer) {
		f := in.Facts[h.Name]
		if !installed(in, f) || f.Settings.Balancer == "" {
			continue
		}
		c.host = h.Name
		c.require(f.Settings.Balancer == want, Check{
			Name: "vip-stays", Found: f.Settings.Balancer, Want: want + ", as cluster.yaml says",
			Hint: "nodes have no way to the API from the change of the balancers to their own, and pods move away from nodes that are unseen for minutes: keep loadBalancer.vip and port, or give --ignore vip-stays when an outage does no harm",
		})
	}
}

// predecessors returns the machines that must not run any more, by the names of their
// hosts: those whose place new ones of the same name take, and those that are forgotten. The
// sockets are those of which one is open on any host that runs as part of a cluster.
func (in Input) predecessors() map[string][]string {
	out := map[string][]string{}
	ports := []string{kubeletPort, etcdClientPort, manifests.DefaultAPIPort}
	if p := in.Cluster.BalancerPort(); !slices.Contains(ports, p) {
		ports = append(ports, p)
	}
	add := func(name, address string) {
		if slices.Contains(in.addresses(), address) {
			return
		}
		for _, port := range ports {
			out[name] = append(out[name], net.JoinHostPort(address, port))
		}
	}
	for _, h := range in.Cluster.Hosts {
		if former := in.formerAddress(h); former != "" && in.fresh(h.Name) {
			add(h.Name, former)
		}
	}
	for _, h := range Leaving(in) {
		if in.Forget[h.Name] {
			add(h.Name, h.Address)
		}
	}
	return out
}

// predecessorProbes makes a host of the cluster, which firewalls let through, look whether
// such machines run.
func (in Input) predecessorProbes() map[string][]probe.Probe {
	i := slices.IndexFunc(in.Cluster.Hosts, func(h manifests.Host) bool {
		f, ok := in.Facts[h.Name]
		return ok && installed(in, f)
	})
	if i < 0 {
		return nil
	}
	var list []probe.Probe
	for _, targets := range in.predecessors() {
		for _, t := range targets {
			list = append(list, probe.Probe{Kind: probe.Dial, Protocol: "tcp", Target: t})
		}
	}
	return map[string][]probe.Probe{in.Cluster.Hosts[i].Name: list}
}

// checkPredecessors refuses a new machine while the former one of its name runs: two kubelets
// would be the same node, and a member of etcd that works would be removed. It refuses to
// forget a host that runs: it would go on as part of the cluster, with its credentials.
func checkPredecessors(c *checks, in Input) {
	old := in.predecessors()
	for _, name := range slices.Sorted(maps.Keys(old)) {
		var open []string
		for _, list := range in.Answers {
			for _, a := range list {
				if a.Kind == probe.Dial && a.Error == "" && slices.Contains(old[name], a.Target) {
					open = append(open, a.Target)
				}
			}
		}
		slices.Sort(open)
		c.host = name
		check := Check{
			Name: "predecessor", Found: "nothing answers at " + strings.Join(old[name], ", "), Want: "no other machine with this name that runs",
			Hint: "shut that machine down for good; or, to take it out in order, give the new one a name of its own",
		}
		if in.Forget[name] {
			check.Want, check.Hint = "a machine that does not run any more", "leave out --forget, so that install restores it; or shut it down for good"
		}
		if len(open) > 0 {
			check.Found = "one that answers at " + strings.Join(open, ", ")
		}
		c.require(len(open) == 0, check)
	}
}
