package stage

import "github.com/offk8s/offk8s/manifests"

// Units returns the names of the units, without ".service", that offk8s runs on a host
// with the roles of h. Stages may add others that come from packages.
func Units(c *manifests.Cluster, h manifests.Host) []string {
	var out []string
	if h.HasRole(manifests.RoleEtcd) {
		out = append(out, "etcd")
	}
	if h.HasRole(manifests.RoleControlPlane) {
		out = append(out, "kube-apiserver", "kube-controller-manager", "kube-scheduler", "offk8s-approver")
	}
	if h.IsNode() && c.Balancing() == manifests.BalanceNodeLocal {
		out = append(out, apiProxyName)
	}
	if h.IsNode() {
		out = append(out, "containerd")
		if c.Runtime.Name == manifests.RuntimeDocker {
			out = append(out, "docker")
		}
		out = append(out, "kubelet", "kube-proxy")
	}
	if h.HasRole(manifests.RoleLoadBalancer) {
		out = append(out, "haproxy", "keepalived")
	}
	return out
}
