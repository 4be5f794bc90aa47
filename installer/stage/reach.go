package stage

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/manifests"
)

// way is a port, or a protocol without ports, of a host that others need to reach.
type way struct {
	to       manifests.Host
	protocol string // "tcp", "udp", "vrrp", "ipip"
	port     int
	from     func(manifests.Host) bool
	use      string
}

// String is "cp-1 6443/tcp".
func (w way) String() string { return w.to.Name + " " + portName(w.protocol, w.port) }

func portName(protocol string, port int) string {
	if port == 0 {
		return protocol
	}
	return fmt.Sprintf("%d/%s", port, protocol)
}

// target returns the way as the Target of a probe.
func (w way) target() string {
	if w.port == 0 {
		return w.to.Address
	}
	return net.JoinHostPort(w.to.Address, strconv.Itoa(w.port))
}

func hasAny(roles ...manifests.Role) func(manifests.Host) bool {
	return func(h manifests.Host) bool { return slices.ContainsFunc(roles, h.HasRole) }
}

// ways returns everything that hosts of the cluster need to reach of each other. Ranges of
// ports, such as those of services, are for users.
func (in Input) ways() []way {
	var out []way
	add := func(use string, to manifests.Host, from func(manifests.Host) bool, ports ...string) {
		for _, p := range ports {
			number, protocol, ok := strings.Cut(p, "/")
			if !ok {
				number, protocol = "0", p
			}
			if n, err := strconv.Atoi(number); err == nil {
				out = append(out, way{to, protocol, n, from, use})
			}
		}
	}
	network, _ := in.network() // an error is that of the steps
	anybody := func(manifests.Host) bool { return true }
	clients := func(h manifests.Host) bool {
		return h.IsNode() || hasAny(manifests.RoleControlPlane, manifests.RoleLoadBalancer)(h)
	}
	for _, h := range in.Cluster.Hosts {
		if h.HasRole(manifests.RoleControlPlane) {
			add("API", h, clients, manifests.DefaultAPIPort+"/tcp")
			add("time", h, anybody, "123/udp")
		}
		if h.HasRole(manifests.RoleEtcd) {
			add("etcd", h, hasAny(manifests.RoleControlPlane, manifests.RoleEtcd), etcdClientPort+"/tcp")
			add("etcd members", h, hasAny(manifests.RoleEtcd), etcdPeerPort+"/tcp")
		}
		if h.IsNode() {
			add("kubelet", h, hasAny(manifests.RoleControlPlane), kubeletPort+"/tcp")
			add("pod network", h, manifests.Host.IsNode, slices.Concat(network.Ports, network.Protocols)...)
		}
		if in.Cluster.Balancing() == manifests.BalanceHosts && h.HasRole(manifests.RoleLoadBalancer) {
			add("load balancer", h, clients, in.Cluster.BalancerPort()+"/tcp")
			add("virtual address", h, hasAny(manifests.RoleLoadBalancer), "vrrp")
		}
	}
	return out
}

// fresh reports whether a host is there and nothing of this cluster is installed on it.
func (in Input) fresh(name string) bool {
	f, ok := in.Facts[name]
	return ok && !installed(in, f)
}

// tries reports whether the way between two hosts is to be tried: in every run of doctor, and
// before the first installation of one of them. Daemons that run would get the packets of
// protocols without ports.
func (in Input) tries(w way, from manifests.Host) bool {
	if w.port == 0 && !in.fresh(w.to.Name) {
		return false
	}
	return from.Name != w.to.Name && w.from(from) && in.seen(from) && in.seen(w.to) &&
		(in.Thorough || in.fresh(from.Name) || in.fresh(w.to.Name))
}

// seen reports whether the facts of a host show its address.
func (in Input) seen(h manifests.Host) bool {
	_, ok := in.Facts[h.Name].Interface(h.Address)
	return ok && !in.Away[h.Name] && in.Alone.Host == ""
}

// closed reports whether the host has a firewall that install has yet to open.
func (in Input) closed(w way, from manifests.Host) bool {
	fw := in.Facts[w.to.Name].Firewall
	return (fw == "firewalld" || fw == "ufw") && !in.skips("firewall") && (in.fresh(w.to.Name) || in.fresh(from.Name))
}

// Listeners returns the sockets that hosts open while others dial them, by host.
func Listeners(in Input) map[string][]probe.Probe {
	out := map[string][]probe.Probe{}
	for _, w := range in.ways() {
		needed := slices.ContainsFunc(in.Cluster.Hosts, func(h manifests.Host) bool { return in.tries(w, h) && !in.closed(w, h) })
		if a, err := netip.ParseAddr(w.to.Address); err == nil && a.Is4() && needed {
			out[w.to.Name] = append(out[w.to.Name], probe.Probe{Kind: probe.Listen, Protocol: w.protocol, Address: a, Port: w.port})
		}
	}
	return out
}

// Dials returns what each host dials, when Answers has those of Listeners: other hosts, and
// the mirror.
func Dials(in Input) map[string][]probe.Probe {
	out := map[string][]probe.Probe{}
	for _, w := range in.ways() {
		if !in.listens(w) {
			continue
		}
		for _, h := range in.Cluster.Hosts {
			if in.tries(w, h) && !in.closed(w, h) {
				out[h.Name] = append(out[h.Name], probe.Probe{Kind: probe.Dial, Protocol: w.protocol, Target: w.target()})
			}
		}
	}
	for _, mirror := range in.mirrorTargets() {
		for _, h := range in.Cluster.Hosts {
			if in.seen(h) && (in.Thorough || in.fresh(h.Name)) {
				out[h.Name] = append(out[h.Name], probe.Probe{Kind: probe.Dial, Protocol: "tcp", Target: mirror})
			}
		}
	}
	return out
}

// listens reports whether somebody answers at the end of a way. Packets that another program
// gets are not answered.
func (in Input) listens(w way) bool {
	return slices.ContainsFunc(in.Answers[w.to.Name], func(a probe.Answer) bool {
		return a.Kind == probe.Listen && a.Protocol == w.protocol && a.Port == w.port && a.Error == "" && (!a.Busy || w.protocol == "tcp")
	})
}

// mirrorTargets returns the addresses of the mirrors.
func (in Input) mirrorTargets() []string {
	var out []string
	for _, raw := range in.Cluster.Mirror.Addresses() {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" {
			continue
		}
		port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
		out = append(out, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	}
	return out
}

// checkReach checks which other hosts, and the mirror, each host reached.
func checkReach(c *checks, in Input) {
	names := map[string]string{}
	for _, w := range in.ways() {
		names[w.protocol+" "+w.target()] = w.String()
	}
	mirrors := in.mirrorTargets()
	for _, h := range in.Cluster.Hosts {
		c.host = h.Name
		tried, asked := 0, 0
		var failed, away []string
		for _, a := range in.Answers[h.Name] {
			name, ok := names[a.Protocol+" "+a.Target]
			switch {
			case a.Kind != probe.Dial:
			case ok:
				tried++
				if a.Error != "" {
					failed = append(failed, name+": "+a.Error)
				}
			case slices.Contains(mirrors, a.Target):
				asked++
				if a.Error != "" {
					away = append(away, a.Target+": "+a.Error)
				}
			}
		}
		if asked > 0 {
			checkMirrors(c, mirrors, away, asked > len(away))
		}
		checkWays(c, in, h, tried, failed)
	}
}

// checkMirrors checks whether a host reached the mirrors, of which one is enough.
func checkMirrors(c *checks, mirrors, away []string, reached bool) {
	check := Check{
		Name: "mirror-reachable", Found: "connected to " + strings.Join(mirrors, ", "), Want: "a connection to " + strings.Join(mirrors, ", "),
		Hint: "check mirror.url, the firewalls, and that the host resolves the name in it",
	}
	if len(away) > 0 {
		check.Found = strings.Join(away, "; ")
	}
	if reached {
		c.recommend(len(away) == 0, check)
	} else {
		c.require(false, check)
	}
}

// checkWays reports the ways from one host. Those behind firewalls that install opens are
// counted.
func checkWays(c *checks, in Input, h manifests.Host, tried int, failed []string) {
	closed := 0
	for _, w := range in.ways() {
		if in.tries(w, h) && in.closed(w, h) {
			closed++
		}
	}
	if tried+closed == 0 {
		return
	}
	check := Check{
		Name: "reachable", Found: fmt.Sprintf("%d of %d ports of other hosts", tried-len(failed), tried), Want: "all of them",
		Hint: "open them in the firewalls of the hosts and in the network between; docs/requirements.md lists all ports",
	}
	if len(failed) > 0 {
		check.Found += "; not " + strings.Join(failed, ", ")
	}
	if closed > 0 {
		check.Found += fmt.Sprintf("; %d not tried, behind firewalls that install opens", closed)
	}
	c.require(len(failed) == 0, check)
}
