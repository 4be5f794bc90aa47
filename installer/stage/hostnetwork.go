package stage

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// checkNetwork checks the interface with the host's address, and its default route. A
// host without the address fails the check "address". least is leastMTU.
func checkNetwork(c *checks, in Input, h manifests.Host, f facts.Facts, least mtu) {
	own, ok := f.Interface(h.Address)
	if !ok {
		return
	}
	check := Check{Name: "address-interface", Found: fmt.Sprintf("%s, MTU %d", own.Interface, own.MTU)}
	if own.MTU > least.bytes {
		check.Want = fmt.Sprintf("MTU %d, as on %s", least.bytes, least.host)
		check.Hint = "packets that are too big for one host of the cluster get lost; set the same MTU on all hosts"
	} else if twin := twin(f, own); twin != "" && own.ReversePath == 1 {
		check.Found += fmt.Sprintf(", %s in the same subnet, strict rp_filter", twin)
		check.Want = "one interface in the subnet, or rp_filter off or loose"
		check.Hint = "the kernel drops packets if the answer would leave by the other interface; set net.ipv4.conf.all.rp_filter=2"
	}
	c.recommend(check.Want == "", check)

	if f.DefaultRoutes == nil {
		return
	}
	way := Check{Name: "default-route", Found: "none"}
	if len(f.DefaultRoutes) > 0 {
		way.Found = "by " + f.DefaultRoutes[0].Interface
	} else if h.IsNode() && !installed(in, f) { // once is enough
		way.Want = "one, or no need to reach other networks"
		way.Hint = fmt.Sprintf("offk8s adds a route for services alone, %s by %s", in.Cluster.ServiceCIDRs()[0], own.Interface)
	}
	c.recommend(way.Want == "", way)
}

// checkSecondAddress checks that the interface with the node's address has its second
// address too: the pod network uses one interface for both families.
func checkSecondAddress(c *checks, h manifests.Host, f facts.Facts) {
	own, ok := f.Interface(h.Address)
	if h.SecondAddress == "" || !ok {
		return
	}
	second, assigned := f.Interface(h.SecondAddress)
	check := Check{
		Name: "second-address", Found: h.SecondAddress + " on " + second.Interface, Want: "on " + own.Interface + ", as " + h.Address,
		Hint: "add the address to the interface, or correct secondAddress in cluster.yaml",
	}
	if !assigned {
		check.Found = h.SecondAddress + ", which is on no interface"
	}
	c.require(second.Interface == own.Interface, check)
}

// checkSubnet checks that a node is in one subnet with all others, if the pod network sends
// packets for their pods to them without a tunnel.
func checkSubnet(c *checks, in Input, h manifests.Host, f facts.Facts) {
	own, ok := f.Interface(h.Address)
	network, err := in.network()
	if !ok || err != nil || network.OneSubnet == "" || !h.IsNode() {
		return
	}
	var outside []string
	for _, n := range in.Cluster.Nodes() {
		if a, err := netip.ParseAddr(n.Address); err == nil && !own.Prefix.Masked().Contains(a.Unmap()) {
			outside = append(outside, n.Name)
		}
	}
	check := Check{
		Name: "pod-network-subnet", Found: own.Prefix.Masked().String(), Want: "all nodes in one subnet, for the pod network without a tunnel",
		Hint: "set network.options so that the pod network has a tunnel, such as backend: vxlan",
	}
	if len(outside) > 0 {
		check.Found += " without " + strings.Join(outside, ", ")
	}
	c.require(len(outside) == 0, check)
}

// mtu is the MTU of a host's interface.
type mtu struct {
	bytes int
	host  string
}

// leastMTU returns the smallest MTU of the interfaces with the hosts' addresses.
func (in Input) leastMTU() (least mtu) {
	for _, h := range in.Cluster.Hosts {
		if own, ok := in.Facts[h.Name].Interface(h.Address); ok && (least.host == "" || own.MTU < least.bytes) {
			least = mtu{own.MTU, h.Name}
		}
	}
	return least
}

// twin returns another interface with an address in the same subnet, "" if there is none.
func twin(f facts.Facts, own facts.Address) string {
	i := slices.IndexFunc(f.Addresses, func(a facts.Address) bool {
		return a.Interface != own.Interface && a.Prefix.Masked() == own.Prefix.Masked()
	})
	if i < 0 {
		return ""
	}
	return f.Addresses[i].Interface
}

// serviceRoute returns the route that a node without a default route needs for
// services, nil for any other host. The kernel looks for a route before the rules of
// kube-proxy replace the address of a service. Without one, programs of the host, such
// as flanneld, get "network is unreachable" (kubernetes/kubernetes#123120).
func (in Input) serviceRoute(h manifests.Host) *step.Route {
	f := in.Facts[h.Name]
	own, ok := f.Interface(h.Address)
	if !ok || f.DefaultRoutes == nil || len(f.DefaultRoutes) > 0 {
		return nil
	}
	return &step.Route{Destination: in.Cluster.ServiceCIDRs()[0], Device: own.Interface, Source: h.Address}
}

// atStart returns the line of a unit that sets a route when the unit starts. A route
// by an interface fails while the interface is down; systemd then tries again.
func atStart(r *step.Route) string {
	argv := r.Replace()
	for i, a := range argv {
		argv[i] = quoteArg(a)
	}
	prefix := "ExecStartPre="
	if r.Device == "" {
		prefix += "-"
	}
	return prefix + "/sbin/" + strings.Join(argv, " ")
}
