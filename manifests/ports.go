package manifests

import "strconv"

// BalancerAlivePort is the TCP port on 127.0.0.1 of a balancer where haproxy answers keepalived.
const BalancerAlivePort = "6445"

// TCPPorts returns the ports that the daemons on a host listen on, that of the balancer
// last.
func (c *Cluster) TCPPorts(h Host) []int {
	var out []int
	if h.HasRole(RoleControlPlane) {
		out = append(out, 6443, 10257, 10259)
	}
	if h.HasRole(RoleEtcd) {
		out = append(out, 2379, 2380)
	}
	if h.IsNode() {
		out = append(out, 10248, 10249, 10250, 10256)
		if c.Balancing() == BalanceNodeLocal {
			out = append(out, port(LocalAPIPort))
		}
	}
	if c.Balancing() == BalanceHosts && h.HasRole(RoleLoadBalancer) {
		out = append(out, port(BalancerAlivePort), port(c.BalancerPort()))
	}
	return out
}

// port returns the number of a port that is checked or a constant.
func port(s string) int {
	n, _ := strconv.Atoi(s) // it is a number
	return n
}
