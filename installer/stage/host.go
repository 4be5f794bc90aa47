package stage

import (
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// hostSteps returns the steps that prepare the operating system. The user can skip
// each group by name.
func hostSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "host"}
	if _, stays := in.byName()[h.Name]; !stays {
		firewallSteps(l, in, h, in.allAddresses())
		return l.done()
	}
	sourceSteps(l, in, h)
	if !in.skips("hostname") {
		l.add("hostname", &step.Hostname{Name: h.Name}).Why = "it is the node's name"
	}
	if !in.skips("hosts") {
		l.add("hosts", &step.Block{
			Path: "/etc/hosts", Lines: hostsLines(in),
		}).Why = "a kubelet is not ready for minutes if its name does not resolve"
	}
	if !in.skips("managers") {
		otherManagers(l, in, h)
	}
	if h.IsNode() {
		nodePreparation(l, in, h)
	}
	if !in.skips("firewall") {
		firewallSteps(l, in, h, in.allAddresses())
	}
	return l.done()
}

func hostsLines(in Input) []string {
	var out []string
	for _, h := range in.Cluster.Hosts {
		names := []string{h.Name}
		if short, _, ok := strings.Cut(h.Name, "."); ok {
			names = append(names, short)
		}
		out = append(out, h.Address+" "+strings.Join(names, " "))
	}
	return out
}

// nodePreparation adds the steps for hosts that run pods.
func nodePreparation(l *list, in Input, h manifests.Host) {
	if !in.skips("swap") {
		l.add("swap", &step.Swap{}).Why = "the kubelet refuses to start with swap on"
	}
	if !in.skips("modules") {
		names, old := proxyModules(in, h)
		optional := slices.Concat([]string{"nf_conntrack"}, old, l.network(in).Modules)
		l.add("modules", &step.Modules{
			Names: append([]string{"overlay", "br_netfilter"}, names...), Optional: optional,
		}).Why = "containers and pod networks need them"
	}
	if !in.skips("sysctl") {
		l.add("sysctl", &step.Sysctl{Values: sysctls(in, h)}).Why = "the host forwards packets between pods, and kubelets want a kernel that reboots after a panic"
	}
}

func sysctls(in Input, h manifests.Host) map[string]string {
	out := map[string]string{
		"net.ipv4.ip_forward":                 "1",
		"net.bridge.bridge-nf-call-iptables":  "1",
		"net.bridge.bridge-nf-call-ip6tables": "1",
	}
	// Without it, the kernel of EL7 keeps mounts of removed containers busy.
	if strings.HasPrefix(in.Facts[h.Name].Kernel, "3.10.") {
		out["fs.may_detach_mounts"] = "1"
	}
	if in.Cluster.DualStack() {
		out["net.ipv6.conf.all.forwarding"] = "1"
	}
	maps.Copy(out, kernelDefaults)
	maps.Copy(out, in.Lock.CNIRelease.Sysctls)
	maps.Copy(out, in.Cluster.HostPrep.Sysctls)
	return out
}

// firewallSteps adds the steps that open the ports of the host's roles, to all
// clients or only to the hosts with the addresses.
func firewallSteps(l *list, in Input, h manifests.Host, hosts []string) {
	var open, between, protocols []string
	if h.HasRole(manifests.RoleControlPlane) {
		open = append(open, manifests.DefaultAPIPort+"/tcp")
		between = append(between, "123/udp")
	}
	balances := in.Cluster.Balancing() == manifests.BalanceHosts && h.HasRole(manifests.RoleLoadBalancer)
	if balances {
		open = append(open, in.Cluster.BalancerPort()+"/tcp")
	}
	if h.HasRole(manifests.RoleEtcd) {
		between = append(between, "2379-2380/tcp")
	}
	if h.IsNode() {
		open = append(open, in.Cluster.NodePorts()+"/tcp", in.Cluster.NodePorts()+"/udp")
		between = append(append(between, "10250/tcp"), l.network(in).Ports...)
		if in.runsKubeProxy() {
			between = append(between, "10256/tcp")
		}
	}
	if h.IsNode() {
		protocols = l.network(in).Protocols
	}
	slices.Sort(between)
	own, _ := in.Facts[h.Name].Interface(h.Address)
	if len(open) > 0 {
		l.add("firewall-open", &step.Firewall{Ports: open, Interface: own.Interface}).Why = "users connect to the API and to node ports"
	}
	if balances {
		var sources []string
		for _, x := range in.Cluster.HostsWith(manifests.RoleLoadBalancer) {
			sources = append(sources, x.Address)
		}
		l.add("firewall-balancers", &step.Firewall{
			Protocols: []string{"vrrp"}, Sources: sources, Interface: own.Interface,
		}).Why = "the balancers tell each other who has the virtual address"
		if name := in.balancerInterface(h); name != own.Interface {
			l.add("firewall-vip", &step.Firewall{
				Ports: []string{in.Cluster.BalancerPort() + "/tcp"}, Interface: name,
			}).Why = "the virtual address is on another interface than the host's"
		}
	}
	if len(between) > 0 {
		l.add("firewall-hosts", &step.Firewall{
			Ports: slices.Compact(between), Protocols: protocols, Sources: hosts, Interface: own.Interface,
		}).Why = "the hosts of the cluster connect to each other"
	}
	if h.IsNode() {
		l.add("firewall-pods", &step.Firewall{
			Trusted: slices.Concat(in.Cluster.PodCIDRs(), in.Cluster.ServiceCIDRs()),
		}).Why = "pods connect to hosts and services"
	}
}
