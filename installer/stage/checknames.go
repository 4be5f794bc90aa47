package stage

import "slices"

// CheckNames returns the names of all checks, sorted; hostPreparation.ignorePreflight and
// --ignore take them. docs/hosts.md describes each.
func CheckNames() []string {
	return []string{
		"addons", "address", "address-family", "address-interface", "address-twice", "arch", "automatic-updates", "balancer-stays",
		"bundle", "cgroups", "clock", "cni-files", "connection", "cpus", "default-route", "disk", "disk-forecast", "disk-programs",
		"endpoint", "entropy", "etcd-disk", "etcd-quorum", "etcd-stays", "fapolicyd", "file-types", "firewall", "foreign-state",
		"forget", "ignore", "inotify", "kmem", "leaving", "loopback-name", "mac", "machine-id", "members-known", "memory", "mirror",
		"mirror-reachable", "mounts", "name-servers", "networks", "os", "os-expected", "other-cluster", "packages", "pod-network-subnet",
		"ports", "predecessor", "product-uuid", "proxies", "proxy-kernel", "proxy-packages", "reachable", "runtime", "runtime-config",
		"same-address", "same-cgroups", "same-host", "same-networks", "same-runtime", "second-address", "selinux", "swap", "systemd",
		"time-servers", "topology", "vip-free", "vip-interface", "vip-network", "vip-stays", "vrrp-id",
	}
}

// checkIgnored warns of names in cluster.yaml that no check has.
func checkIgnored(c *checks, in Input) {
	for _, name := range in.Cluster.HostPrep.IgnorePreflight {
		c.recommend(slices.Contains(CheckNames(), name), Check{
			Name: "ignore", Found: name, Want: "the name of a check", Hint: "correct hostPreparation.ignorePreflight; offk8s doctor shows the names",
		})
	}
}

// Connection returns the check of a host's connection; err is nil if there is one.
func Connection(in Input, host string, err error) Check {
	c := &checks{host: host, ignore: in.Cluster.HostPrep.IgnorePreflight}
	check := Check{Name: "connection", Found: "connected", Want: "connected"}
	if err != nil {
		check.Found = err.Error()
		check.Hint = "correct ssh: in cluster.yaml, or start the host; nothing else about it is known"
	}
	c.require(err == nil, check)
	return c.list[0]
}

// Mirror returns the check of the mirror; err is nil if it serves everything that is needed.
func Mirror(in Input, err error) Check {
	c := &checks{ignore: in.Cluster.HostPrep.IgnorePreflight}
	check := Check{Name: "mirror", Found: "serves all artifacts", Want: "all artifacts of the plan"}
	if err != nil {
		check.Found, check.Hint = err.Error(), "run offk8s verify on the mirror's tarball, and serve it again"
	}
	c.require(err == nil, check)
	return c.list[0]
}
