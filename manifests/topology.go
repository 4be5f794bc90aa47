package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Topology is a way to give roles to hosts, for a cluster.yaml to start from.
type Topology struct {
	Name  string // "production"
	About string // a line for users
	// first are the roles of the first hosts; all others get rest, or, without rest, must
	// not exist.
	first [][]Role
	rest  []Role
	least int // hosts
	mode  string
}

// Topologies returns all, the smallest first.
func Topologies() []Topology {
	plane, member, worker, balancer := RoleControlPlane, RoleEtcd, RoleWorker, RoleLoadBalancer
	times := func(n int, roles ...Role) [][]Role { return slices.Repeat([][]Role{roles}, n) }
	return []Topology{
		{"all-in-one", "one host with all roles", times(1, plane, member, worker), nil, 1, ""},
		{"single", "a control plane, etcd on three hosts, workers", append(times(1, plane, member), times(2, member, worker)...), []Role{worker}, 3, ""},
		{
			"compact", "three control planes with etcd that run pods too; two are the load balancers",
			append(times(2, plane, member, worker, balancer), []Role{plane, member, worker}),
			[]Role{worker},
			3, BalanceHosts,
		},
		{
			"production", "two load balancers, three control planes with etcd, workers",
			append(times(2, balancer), times(3, plane, member)...),
			[]Role{worker},
			6, BalanceHosts,
		},
		{
			"production-etcd", "two load balancers, three control planes, three hosts for etcd, workers",
			slices.Concat(times(2, balancer), times(3, plane), times(3, member)),
			[]Role{worker},
			9, BalanceHosts,
		},
		{"external", "three control planes with etcd behind a balancer of yours, workers", times(3, plane, member), []Role{worker}, 4, BalanceExternal},
		{"node-local", "three control planes with etcd, workers; a proxy on every node, no balancer", times(3, plane, member), []Role{worker}, 4, BalanceNodeLocal},
	}
}

// NewCluster holds the values of a cluster.yaml to start from.
type NewCluster struct {
	Topology string
	// Hosts are addresses, or name=address, in the order of the topology's roles.
	Hosts []string
	// VIP is the virtual address of load balancers, Endpoint the host:port of an
	// external one.
	VIP, Endpoint string
}

// Write returns a commented cluster.yaml with the hosts in the roles of the topology.
// Only the mirror is still that of an example. The error has every problem of n.
func (n NewCluster) Write() ([]byte, error) {
	name := n.Topology
	if name == "ha" {
		name = "production"
	}
	i := slices.IndexFunc(Topologies(), func(t Topology) bool { return t.Name == name })
	if i < 0 {
		var names []string
		for _, t := range Topologies() {
			names = append(names, t.Name)
		}
		return nil, fmt.Errorf("topology %q: want one of %s", n.Topology, strings.Join(names, ", "))
	}
	t := Topologies()[i]
	hosts, err := t.hosts(n.Hosts)
	if err = errors.Join(err, t.fits(n)); err != nil {
		return nil, err
	}
	var list, balancing strings.Builder
	list.WriteString("hosts:\n")
	for _, h := range hosts {
		fmt.Fprintf(&list, "  - name: %s\n    address: %s\n    roles: [%s]\n", h.Name, h.Address, joinRoles(h.Roles))
	}
	if t.mode != "" {
		fmt.Fprintf(&balancing, "loadBalancer:\n  mode: %s\n", t.mode)
	}
	if n.VIP != "" {
		fmt.Fprintf(&balancing, "  vip: %s\n", n.VIP)
	}
	if n.Endpoint != "" {
		fmt.Fprintf(&balancing, "\ncontrolPlane:\n  endpoint: %s\n", n.Endpoint)
	}
	out := replacePart(initCluster, "hosts:\n", list.String())
	if balancing.Len() > 0 {
		out = replacePart(out, "# loadBalancer:\n", balancing.String())
	}
	if n.Endpoint != "" {
		out = replacePart(out, "# controlPlane:\n", "")
	}
	if _, err := LoadCluster("cluster.yaml", out); err != nil {
		return nil, err
	}
	return out, nil
}

// fits returns an error if a value is missing, or does nothing in t.
func (t Topology) fits(n NewCluster) error {
	var errs []error
	check := func(value, name, mode, about string) {
		switch {
		case value == "" && t.mode == mode:
			errs = append(errs, fmt.Errorf("topology %q needs a %s, %s", t.Name, name, about))
		case value != "" && t.mode != mode:
			errs = append(errs, fmt.Errorf("topology %q has no %s", t.Name, name))
		}
	}
	check(n.VIP, "VIP", BalanceHosts, "a free address in the network of the load balancers")
	check(n.Endpoint, "balancer's endpoint", BalanceExternal, "host:port")
	return errors.Join(errs...)
}

// hosts gives the roles of t to hosts, each "address" or "name=address". A host without
// a name gets one of its first role and a number.
func (t Topology) hosts(given []string) ([]Host, error) {
	if len(given) < t.least || t.rest == nil && len(given) > t.least {
		more := ""
		if t.rest != nil {
			more = " or more"
		}
		return nil, fmt.Errorf("topology %q (%s): found hosts: %d, want %d%s", t.Name, t.About, len(given), t.least, more)
	}
	words := map[Role]string{RoleLoadBalancer: "lb", RoleControlPlane: "cp", RoleEtcd: "etcd", RoleWorker: "node"}
	var errs []error
	var out []Host
	count := map[Role]int{}
	for i, g := range given {
		h := Host{Roles: t.rest, Address: g}
		if i < len(t.first) {
			h.Roles = t.first[i]
		}
		count[h.Roles[0]]++
		if name, address, ok := strings.Cut(g, "="); ok {
			h.Name, h.Address = name, address
		} else {
			h.Name = fmt.Sprintf("%s-%d", words[h.Roles[0]], count[h.Roles[0]])
		}
		if _, err := netip.ParseAddr(h.Address); err != nil || !strict.IsNodeName(h.Name) {
			errs = append(errs, fmt.Errorf("host %q: want an address, or name=address", g))
		}
		out = append(out, h)
	}
	return out, errors.Join(errs...)
}

func joinRoles(roles []Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = string(r)
	}
	return strings.Join(words, ", ")
}

// replacePart replaces the lines of doc from the line head to the next empty one.
func replacePart(doc []byte, head, by string) []byte {
	before, rest, _ := bytes.Cut(doc, []byte("\n"+head))
	_, after, _ := bytes.Cut(rest, []byte("\n\n"))
	sep := "\n\n"
	if by == "" {
		sep = ""
	}
	return slices.Concat(before, []byte("\n"+strings.TrimSuffix(by, "\n")+sep), after)
}
