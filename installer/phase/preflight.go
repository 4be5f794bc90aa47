package phase

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/distro"
	"github.com/offk8s/offk8s/manifests"
)

// What a host must have at least.
const (
	minMemory   = 1700 << 20 // of a control plane, as kubeadm asks for
	minWorker   = 900 << 20
	minCPUs     = 2
	minData     = 10 << 30 // below /var/lib: images, containers, etcd
	minPrograms = 1 << 30  // below /usr/local/bin
	warnSkew    = 5 * time.Second
)

// Preflight judges topology and facts. It never stops at the first problem. A
// failure that hostPreparation.ignorePreflight names is a warning.
func Preflight(in Input) []Check {
	out := topology(in)
	for _, h := range in.Cluster.Hosts {
		f, ok := in.Facts[h.Name]
		if !ok {
			continue // a plan made at the desk
		}
		c := &checks{host: h.Name, ignore: in.Cluster.HostPrep.IgnorePreflight}
		system(c, in, h, f)
		resources(c, h, f)
		kernel(c, in, h, f)
		ports(c, in, h, f)
		foreign(c, in, h, f)
		out = append(out, c.list...)
	}
	return out
}

// topology is about the cluster as a whole.
func topology(in Input) []Check {
	c := &checks{ignore: in.Cluster.HostPrep.IgnorePreflight}
	cp := len(in.Cluster.HostsWith(manifests.RoleControlPlane))
	c.add(cp == 1, Fail, "control-planes", fmt.Sprint(cp), "1", "several control planes need load balancers, which come with a later version")
	lb := len(in.Cluster.HostsWith(manifests.RoleLoadBalancer))
	c.add(lb == 0, Fail, "load-balancers", fmt.Sprint(lb), "0", "they come with a later version; take the role away")
	members := len(in.Cluster.HostsWith(manifests.RoleEtcd))
	c.add(members%2 == 1, Fail, "etcd-members", fmt.Sprint(members), "1, 3 or 5", "an even number survives no more failures than one less")
	c.add(members != 1, Warn, "etcd-quorum", fmt.Sprint(members), "3", "with one member a lost host is a lost cluster")
	workers := len(in.Cluster.HostsWith(manifests.RoleWorker))
	c.add(workers > 0, Fail, "workers", fmt.Sprint(workers), "1 or more", "give a host the role worker")
	for _, x := range []struct{ name, cidr string }{{"pod-range", in.Cluster.PodCIDR()}, {"service-range", in.Cluster.ServiceCIDR()}} {
		p, err := netip.ParsePrefix(x.cidr)
		c.add(err == nil && p.Addr().Is4(), Fail, x.name, x.cidr, "an IPv4 network such as 10.244.0.0/16", "")
		if err != nil {
			continue
		}
		for _, h := range in.Cluster.Hosts {
			if a, err := netip.ParseAddr(h.Address); err == nil && p.Contains(a) {
				c.add(false, Fail, x.name, x.cidr, "a network without "+h.Name+"'s "+h.Address, "choose another network")
			}
		}
	}
	if p, err := netip.ParsePrefix(in.Cluster.PodCIDR()); err == nil {
		// Every node gets a /24 of it.
		room := 1 << max(0, min(16, 24-p.Bits()))
		if p.Bits() > 24 {
			room = 0
		}
		n := len(in.Cluster.Nodes())
		c.add(room >= n, Fail, "pod-range-size", fmt.Sprintf("room for %d nodes", room), fmt.Sprintf("%d", n), "each node takes a /24")
	}
	return c.list
}

func system(c *checks, in Input, h manifests.Host, f Facts) {
	d, known := distro.Detect(f.OS.ID, f.OS.Version)
	name := f.OS.Name
	if name == "" {
		name = strings.TrimSpace(f.OS.ID + " " + f.OS.Version)
	}
	supported := known && slices.Contains(in.Lock.Distros, d.Name)
	c.add(supported, Fail, "os", name, "one of "+strings.Join(in.Lock.Distros, ", "), "pack a bundle with --os for it")
	if h.OS != "" {
		c.add(known && d.Name == h.OS, Fail, "os-expected", name, h.OS+", as cluster.yaml says", "correct os: of the host, or take it away")
	}
	c.add(slices.Contains(in.Lock.Arches, f.Arch), Fail, "arch", f.Arch, "one of "+strings.Join(in.Lock.Arches, ", "), "pack a bundle with --arch for it")
	c.add(f.Systemd > 0, Fail, "systemd", yesNo(f.Systemd > 0), "yes", "daemons run under systemd")
	own := f.Firewall == "iptables" || f.Firewall == "nftables"
	c.add(!own, Warn, "firewall", cmp.Or(f.Firewall, "none"), "firewalld, ufw or none",
		"its rules are yours: let in what the step firewall-hosts lists, and forward packets of pods and services")
	a, err := netip.ParseAddr(h.Address)
	found := h.Address
	if err != nil || !f.HasAddress(a) {
		found += ", which is on no interface"
	}
	c.add(err == nil && f.HasAddress(a), Fail, "address", found, "an address of the host", "correct the host's address in cluster.yaml")
}

func resources(c *checks, h manifests.Host, f Facts) {
	want := int64(minWorker)
	if h.HasRole(manifests.RoleControlPlane) {
		want = minMemory
	}
	c.add(f.MemoryBytes >= want, Fail, "memory", mib(f.MemoryBytes), mib(want), "")
	c.add(f.CPUs >= minCPUs, Warn, "cpus", fmt.Sprint(f.CPUs), fmt.Sprint(minCPUs), "")
	for _, x := range f.Disks {
		switch x.Path {
		case "/var/lib":
			c.add(x.FreeBytes >= minData, Warn, "disk", mib(x.FreeBytes)+" free below /var/lib", mib(minData), "pods are evicted when it fills up")
		case "/usr/local/bin":
			c.add(x.FreeBytes >= minPrograms, Fail, "disk-programs", mib(x.FreeBytes)+" free below /usr/local/bin", mib(minPrograms), "")
		}
	}
}

func kernel(c *checks, in Input, h manifests.Host, f Facts) {
	if !h.IsNode() {
		return
	}
	if !in.Lock.Release.Features.CgroupV2 {
		c.add(slices.Contains(f.Cgroups, 1), Fail, "cgroups", fmt.Sprintf("version %v", f.Cgroups), "version 1 for Kubernetes "+in.Lock.Minor,
			"boot with systemd.unified_cgroup_hierarchy=0")
	}
	types := "file types in directories"
	if f.NoFileTypes {
		types = "XFS with ftype=0 at /var/lib"
	}
	c.add(!f.NoFileTypes, Fail, "file-types", types, "file types in directories, for overlay mounts",
		"mount at /var/lib/containerd a file system made with mkfs.xfs -n ftype=1, or ext4")
	if in.refusesCgroupV1() {
		c.add(!slices.Equal(f.Cgroups, []int{1}), Fail, "cgroups", fmt.Sprintf("version %v", f.Cgroups), "version 2 for Kubernetes "+in.Lock.Minor,
			"boot with cgroup v2, or set kubelet.config failCgroupV1: false")
	}
}

// refusesCgroupV1 asks release and cluster.yaml.
func (in Input) refusesCgroupV1() bool {
	v, set := in.Cluster.Kubelet.Config["failCgroupV1"]
	return in.Lock.Release.Features.CgroupV1Refused && (!set || v != false)
}

// ports are free unless a daemon of this very cluster has them.
func ports(c *checks, in Input, h manifests.Host, f Facts) {
	if ours(in, f) {
		return
	}
	var busy []string
	for _, p := range listens(h) {
		if f.ListensOn("tcp", p) {
			busy = append(busy, fmt.Sprint(p))
		}
	}
	found := "free"
	if len(busy) > 0 {
		found = "in use: " + strings.Join(busy, ", ")
	}
	c.add(len(busy) == 0, Fail, "ports", found, "free", "stop what listens there")
}

// listens are the TCP ports of a host's daemons.
func listens(h manifests.Host) []int {
	var out []int
	if h.HasRole(manifests.RoleControlPlane) {
		out = append(out, 6443, 10257, 10259)
	}
	if h.HasRole(manifests.RoleEtcd) {
		out = append(out, 2379, 2380)
	}
	if h.IsNode() {
		out = append(out, 10248, 10249, 10250, 10256)
	}
	return out
}

// ours reports whether offk8s has installed this cluster on the host before.
func ours(in Input, f Facts) bool {
	return f.Installed != nil && f.Installed.Cluster == in.Cluster.Name
}

// emptyState are paths that may be there on a host without Kubernetes, as mount
// points or left by a package; whether data lies in them the steps look at.
var emptyState = []string{"/etc/cni/net.d", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/docker"}

// foreign looks for another Kubernetes or another cluster of ours.
func foreign(c *checks, in Input, h manifests.Host, f Facts) {
	if f.Installed != nil {
		c.add(ours(in, f), Fail, "other-cluster", fmt.Sprintf("cluster %q", f.Installed.Cluster), fmt.Sprintf("cluster %q", in.Cluster.Name),
			"a host belongs to one cluster; reset it first")
	}
	if ours(in, f) {
		return
	}
	var found []string
	for _, s := range f.State {
		if !slices.Contains(emptyState, s) {
			found = append(found, s)
		}
	}
	what := "nothing"
	if len(found) > 0 {
		what = strings.Join(found, ", ")
	}
	c.add(len(found) == 0, Fail, "foreign-state", what, "no other Kubernetes, etcd or container runtime",
		"remove it, or ignore it by name when it is known to be harmless")
	if h.IsNode() && f.SwapBytes > 0 {
		c.add(!in.skips("swap"), Fail, "swap", mib(f.SwapBytes), "none", "the host phase switches it off unless it is skipped")
	}
}

// Skew judges a host's clock: offset is how far it is ahead of the operator's,
// measured by the runner round the agent's answer. The runner asks before the
// first step, and again after the time phase, where nothing is left to hope for.
func Skew(in Input, host string, offset time.Duration, synchronized bool) Check {
	c := &checks{host: host, ignore: in.Cluster.HostPrep.IgnorePreflight}
	limit, err := time.ParseDuration(in.Cluster.Time.MaxSkew)
	if err != nil || limit <= 0 {
		limit = time.Minute
	}
	off := offset.Abs()
	hint := "set the clock of the host or of this machine: certificates would not be valid yet, or not any more"
	if synchronized {
		hint = "the hosts agree among themselves; this machine's clock or the control plane's is wrong"
	}
	switch {
	case off > limit:
		c.add(false, Fail, "clock", offset.Round(time.Millisecond).String()+" apart", "at most "+limit.String(), hint)
	default:
		c.add(off <= warnSkew, Warn, "clock", offset.Round(time.Millisecond).String()+" apart", "at most "+warnSkew.String(), hint)
	}
	return c.list[0]
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
