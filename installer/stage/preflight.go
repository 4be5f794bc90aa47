package stage

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// The least that a host must have, in bytes where it is a size.
const (
	minMemory   = 1700 << 20 // of a control plane, as kubeadm requires
	minWorker   = 900 << 20
	minCPUs     = 2
	minData     = 10 << 30 // below /var/lib: images, containers, etcd
	minPrograms = 1 << 30  // below /usr/local/bin
	warnSkew    = 5 * time.Second
)

// preflight checks whether the bundle suits the cluster and, for each host with
// facts, the host; Cluster.Validate has checked what cluster.yaml alone shows. It
// reports all problems, not only the first. A failed check of a host that
// hostPreparation.ignorePreflight names becomes a warning.
func preflight(in Input) []Check {
	c := &checks{ignore: in.Cluster.HostPrep.IgnorePreflight}
	checkIgnored(c, in)
	checkCluster(c, in)
	least := in.leastMTU()
	for _, h := range in.Cluster.Hosts {
		c.host = h.Name
		f, ok := in.Facts[h.Name]
		if !ok { // planned without the host
			checkExpectedOS(c, in, h)
			continue
		}
		checkSystem(c, in, h, f)
		checkResources(c, h, f)
		checkSetup(c, in, h, f)
		checkNetwork(c, in, h, f, least)
		checkOverlaps(c, in, f)
		checkClock(c, in, h, f)
		checkKernel(c, in, h, f)
		checkProxy(c, in, h, f)
		checkSubnet(c, in, h, f)
		checkPorts(c, in, h, f)
		checkForeign(c, in, h, f)
		checkKept(c, in, h, f)
	}
	checkBalancers(c, in)
	checkVIPStays(c, in)
	checkPredecessors(c, in)
	checkSync(c, in)
	checkBetween(c, in)
	checkReach(c, in)
	return c.list
}

// checkCluster checks that the bundle and this version can install the cluster.
func checkCluster(c *checks, in Input) {
	members := len(in.Cluster.HostsWith(manifests.RoleEtcd))
	c.recommend(members != 1, Check{
		Name: "etcd-quorum", Found: fmt.Sprint(members), Want: "3",
		Hint: "with one member, losing its host loses the cluster",
	})
	if why := in.Cluster.TopologyReason; why != "" {
		planes := len(in.Cluster.HostsWith(manifests.RoleControlPlane))
		c.recommend(members%2 == 1 && planes != 2, Check{
			Name: "topology", Found: fmt.Sprintf("%d etcd members, %d control planes (%s)", members, planes, why),
			Want: "odd numbers", Hint: "a failure of one host more than with one host less stops the cluster",
		})
	}
	families := Check{
		Name: "address-family", Found: "IPv4", Want: "IPv4",
		Hint: fmt.Sprintf("clusters with IPv6 alone, or first, come with a later version; the pod network %q of the bundle needs IPv4", in.Lock.CNI),
	}
	must := &checks{} // no setting makes these work, so that nothing turns them into warnings
	for _, s := range in.ranges() {
		if p, err := netip.ParsePrefix(s); err != nil || !p.Addr().Unmap().Is4() {
			families.Found = "IPv6, " + s
			break
		}
	}
	must.require(families.Found == families.Want, families)
	checkRuntime(must, in)
	if missing := in.missingAddons(); len(missing) > 0 {
		must.require(false, Check{
			Name: "addons", Found: "no " + strings.Join(missing, ", ") + " in the bundle", Want: "the addons of cluster.yaml",
			Hint: "pack the bundle with --addon, or remove them from cluster.yaml",
		})
	}
	want := "plugins of " + criPlugins[in.Lock.Release.Features.ContainerdConfig]
	for _, name := range otherPlugins(in) {
		must.require(false, Check{
			Name: "runtime-config", Found: fmt.Sprintf("runtime.config with %q", name), Want: want,
			Hint: "containerd of this bundle would ignore it",
		})
	}
	c.list = append(c.list, must.list...)
}

// checkRuntime checks that the bundle has the container runtime of cluster.yaml.
func checkRuntime(c *checks, in Input) {
	if _, has := in.Lock.Components()[manifests.RuntimeDocker]; !has && in.runtimeName() == manifests.RuntimeDocker {
		c.require(false, Check{
			Name: "runtime", Found: "no docker in the bundle for Kubernetes " + in.Lock.Minor, Want: "docker, as cluster.yaml says",
			Hint: "up to 1.23 pack the bundle with --runtime docker; later kubelets run with containerd only, remove runtime.name",
		})
	}
}

// ranges returns the first ranges of the cluster and the addresses of its hosts, as ranges.
func (in Input) ranges() []string {
	out := []string{in.Cluster.PodCIDRs()[0], in.Cluster.ServiceCIDRs()[0]}
	for _, h := range in.Cluster.Hosts {
		out = append(out, hostPrefix(h.Address))
	}
	return out
}

// criPlugins are the plugins of containerd for Kubernetes, by the version of config.toml.
var criPlugins = map[int]string{2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1"}

// streaming are the settings that version 3 has left in the plugin of version 2.
var streaming = []string{
	"disable_tcp_service", "stream_server_address", "stream_server_port", "stream_idle_timeout",
	"enable_tls_streaming", "x509_key_pair_streaming",
}

// otherPlugins returns the tables of runtime.config that configure plugins for
// Kubernetes of another version of containerd, sorted.
func otherPlugins(in Input) []string {
	version := in.Lock.Release.Features.ContainerdConfig
	if in.runtimeName() == manifests.RuntimeDocker {
		return nil
	}
	plugins, _ := in.Cluster.Runtime.Config["plugins"].(map[string]any)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		settings, _ := plugins[name].(map[string]any)
		switch {
		case version == 2 && strings.HasPrefix(name, criPlugins[3]),
			version == 3 && name == criPlugins[2] && hasOther(settings, streaming):
			out = append(out, name)
		}
	}
	return out
}

// hasOther reports whether m has another key than known.
func hasOther(m map[string]any, known []string) bool {
	for k := range m {
		if !slices.Contains(known, k) {
			return true
		}
	}
	return false
}

// checkExpectedOS checks the operating system that a plan assumes for a host without
// facts.
func checkExpectedOS(c *checks, in Input, h manifests.Host) {
	if _, err := in.distro(h); err != nil {
		c.require(false, Check{
			Name: "os", Found: cmp.Or(h.OS, "none"), Want: wantOS(in),
			Hint: "correct os: of the host, or pack a bundle with --os for it; " + reasonOS(err),
		})
	}
}

// reasonOS returns the reason in an error of Input.distro.
func reasonOS(err error) string {
	return strings.TrimPrefix(err.Error(), errOS.Error()+": ")
}

func wantOS(in Input) string { return "one of " + strings.Join(in.Lock.Distros, ", ") }

// checkSystem checks the operating system, the architecture and the address.
func checkSystem(c *checks, in Input, h manifests.Host, f facts.Facts) {
	d, err := in.distro(h)
	check := Check{Name: "os", Found: f.OS.String(), Want: wantOS(in), Hint: "pack a bundle with --os for it"}
	if relative := in.relativeOf(h, d); err == nil && relative != "" {
		check.Found = relative
	}
	if err != nil {
		check.Hint += "; " + reasonOS(err)
	}
	c.require(err == nil, check)
	if h.OS != "" {
		expected := in.named(h.OS)
		c.require(err == nil && (d.Name == h.OS || catalog.Distro{ID: expected.ID, Major: expected.Version}.Is(f.OS)), Check{
			Name: "os-expected", Found: f.OS.String(), Want: h.OS + ", as cluster.yaml says",
			Hint: "correct os: of the host, or remove it",
		})
	}
	c.require(slices.Contains(in.Lock.Arches, f.Arch), Check{
		Name: "arch", Found: f.Arch, Want: "one of " + strings.Join(in.Lock.Arches, ", "),
		Hint: "pack a bundle with --arch for it",
	})
	running := "no"
	if f.Systemd > 0 {
		running = "yes"
	}
	c.require(f.Systemd > 0, Check{Name: "systemd", Found: running, Want: "yes", Hint: "daemons run under systemd"})
	rules := ownFirewall(in, h, f)
	c.recommend(len(rules) == 0, Check{
		Name: "firewall", Found: cmp.Or(f.Firewall, "none"), Want: "firewalld, ufw or none",
		Hint: "its rules are yours; add these before those that refuse: " + strings.Join(rules, "; "),
	})
	_, assigned := f.Interface(h.Address)
	found := h.Address
	if !assigned {
		found += ", which is on no interface"
	}
	c.require(assigned, Check{
		Name: "address", Found: found, Want: "an address of the host", Hint: "correct the host's address in cluster.yaml",
	})
	checkSecondAddress(c, h, f)
}

// checkResources checks memory, processors and free space.
func checkResources(c *checks, h manifests.Host, f facts.Facts) {
	want := int64(minWorker)
	if h.HasRole(manifests.RoleControlPlane) {
		want = minMemory
	}
	c.require(f.MemoryBytes >= want, Check{Name: "memory", Found: mib(f.MemoryBytes), Want: mib(want)})
	c.recommend(f.CPUs >= minCPUs, Check{Name: "cpus", Found: fmt.Sprint(f.CPUs), Want: fmt.Sprint(minCPUs)})
	for _, x := range f.Disks {
		found := mib(x.FreeBytes) + " free below " + x.Path
		switch x.Path {
		case "/var/lib":
			c.recommend(x.FreeBytes >= minData, Check{
				Name: "disk", Found: found, Want: mib(minData), Hint: "pods are evicted when it fills up",
			})
		case "/usr/local/bin":
			c.require(x.FreeBytes >= minPrograms, Check{Name: "disk-programs", Found: found, Want: mib(minPrograms)})
		}
	}
}

// checkKernel checks that a node can run containers of the Kubernetes minor.
func checkKernel(c *checks, in Input, h manifests.Host, f facts.Facts) {
	if !h.IsNode() {
		return
	}
	cgroups := Check{Name: "cgroups", Found: fmt.Sprintf("version %v", f.Cgroups)}
	if release := in.Lock.Release; !release.CgroupV2(in.runtimeName()) {
		cgroups.Want = "version 1 for Kubernetes " + in.Lock.Minor
		if release.Features.CgroupV2 {
			cgroups.Want = "version 1 for docker before 20.10"
		}
		cgroups.Hint = "boot with systemd.unified_cgroup_hierarchy=0"
		c.require(slices.Contains(f.Cgroups, 1), cgroups)
	}
	types := "file types in directories"
	if f.NoFileTypes {
		types = "XFS with ftype=0 at /var/lib"
	}
	c.require(!f.NoFileTypes, Check{
		Name: "file-types", Found: types, Want: "file types in directories, for overlay mounts",
		Hint: "mount at " + in.runtime().dataDir() + " a file system made with mkfs.xfs -n ftype=1, or ext4",
	})
	if refusesCgroupV1(in) {
		cgroups.Want = "version 2 for Kubernetes " + in.Lock.Minor
		cgroups.Hint = "boot with cgroup v2, or set kubelet.config failCgroupV1: false"
		c.require(!slices.Equal(f.Cgroups, []int{1}), cgroups)
	}
}

// refusesCgroupV1 reports whether the kubelet does not start on cgroup v1: the
// release refuses it and cluster.yaml does not allow it.
func refusesCgroupV1(in Input) bool {
	v, set := in.Cluster.Kubelet.Config["failCgroupV1"]
	return in.Lock.Release.Features.CgroupV1Refused && (!set || v != false)
}

// checkPorts checks that the daemons' ports are free, unless the daemons of this
// cluster use them already.
func checkPorts(c *checks, in Input, h manifests.Host, f facts.Facts) {
	if installed(in, f) {
		return
	}
	var busy []string
	for _, p := range in.Cluster.TCPPorts(h) {
		if f.ListensOn("tcp", p) {
			busy = append(busy, fmt.Sprint(p))
		}
	}
	found := "free"
	if len(busy) > 0 {
		found = "in use: " + strings.Join(busy, ", ")
	}
	c.require(len(busy) == 0, Check{Name: "ports", Found: found, Want: "free", Hint: "stop the programs that listen on them"})
}

// installed reports whether offk8s has installed this cluster on the host before.
func installed(in Input, f facts.Facts) bool {
	return f.Installed != nil && f.Installed.Cluster == in.Cluster.Name
}

// emptyState lists paths that a host without Kubernetes may have, as mount points
// or from a package. The steps check whether they contain data.
var emptyState = []string{"/etc/cni/net.d", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/docker"}

// checkForeign checks that no other Kubernetes, and no other cluster of offk8s, is
// on the host.
func checkForeign(c *checks, in Input, h manifests.Host, f facts.Facts) {
	if f.Installed != nil {
		must := &checks{host: c.host} // the agent refuses it too
		must.require(installed(in, f), Check{
			Name: "other-cluster", Found: fmt.Sprintf("cluster %q", f.Installed.Cluster), Want: fmt.Sprintf("cluster %q", in.Cluster.Name),
			Hint: "a host belongs to one cluster: correct the name or the address in cluster.yaml, or reset the host first if that cluster is not needed any more",
		})
		c.list = append(c.list, must.list...)
	}
	if installed(in, f) {
		checkSameRuntime(c, in, h, f)
		return
	}
	state := slices.DeleteFunc(slices.Clone(f.State), func(s string) bool {
		return slices.Contains(emptyState, s) ||
			slices.Contains(facts.DockerTraces, s) && in.runtimeName() != manifests.RuntimeDocker
	})
	c.require(len(state) == 0, Check{
		Name: "foreign-state", Found: cmp.Or(strings.Join(state, ", "), "nothing"),
		Want: "no other Kubernetes, etcd or container runtime",
		Hint: "remove it, or ignore this check if it is known to be harmless",
	})
	if h.IsNode() && f.SwapBytes > 0 {
		c.require(!in.skips("swap"), Check{
			Name: "swap", Found: mib(f.SwapBytes), Want: "none",
			Hint: "the host stage switches swap off unless it is skipped",
		})
	}
}

// checkSameRuntime refuses another runtime than the node has: its pods would go on below
// the old one, and nobody would end them.
func checkSameRuntime(c *checks, in Input, h manifests.Host, f facts.Facts) {
	found := ""
	switch {
	case slices.Contains(f.State, dockerCfg):
		found = manifests.RuntimeDocker
	case slices.Contains(f.State, containerdData):
		found = manifests.RuntimeContainerd
	}
	if found != "" && found != in.runtimeName() && h.IsNode() {
		must := &checks{host: c.host} // no setting makes it work
		must.require(false, Check{
			Name: "same-runtime", Found: found, Want: in.runtimeName(),
			Hint: "a node keeps its runtime: reset the node, then install it again",
		})
		c.list = append(c.list, must.list...)
	}
}

// Skew checks a host's clock before the first step; ahead is how far it is ahead
// of the operator's.
func Skew(in Input, host string, ahead time.Duration) Check {
	return skew(in, host, ahead, "set the clock of the host or of this machine: certificates would not be valid yet, or not any more")
}

// SkewAfterSync checks a host's clock as Skew does, but after the time stage, when
// nothing will correct it any more.
func SkewAfterSync(in Input, host string, ahead time.Duration) Check {
	return skew(in, host, ahead, "the hosts agree among themselves; this machine's clock or the control plane's is wrong")
}

func skew(in Input, host string, ahead time.Duration, hint string) Check {
	c := &checks{host: host, ignore: in.Cluster.HostPrep.IgnorePreflight}
	limit, err := time.ParseDuration(in.Cluster.Time.MaxSkew)
	if err != nil || limit <= 0 {
		limit = time.Minute
	}
	check := Check{
		Name: "clock", Found: ahead.Round(time.Millisecond).String() + " apart", Want: "at most " + limit.String(),
		Hint: hint,
	}
	if ahead.Abs() > limit {
		c.require(false, check)
	} else {
		check.Want = "at most " + warnSkew.String()
		c.recommend(ahead.Abs() <= warnSkew, check)
	}
	return c.list[0]
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
