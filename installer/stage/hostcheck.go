package stage

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Limits below which a host gets a warning.
const (
	minEntropy   = 200 // bits; since Linux 5.18 there are always 256
	minInstances = 512 // of inotify: kubelet, runtime and pods share them
	minWatches   = 65536
	// maxSync is the time for 99 of 100 small writes that etcd's documentation wants.
	maxSync = 10 * time.Millisecond
	// unpacked is how much more room a package needs when it is installed.
	unpacked = 3
)

// checkSetup checks how the host is set up.
func checkSetup(c *checks, in Input, h manifests.Host, f facts.Facts) {
	checkMounts(c, in, h, f)
	checkForecast(c, in, h, f)
	checkSELinux(c, in, f)
	checkFapolicyd(c, f)
	s := f.System
	c.recommend(len(s.Proxies) == 0, Check{
		Name: "proxies", Found: cmp.Or(strings.Join(s.Proxies, ", "), "none"), Want: "none for services",
		Hint: "the cluster's daemons do without: if the container runtime needs it for other registries, set it in a drop-in file of its unit, with the mirror, the hosts, pods and services in NO_PROXY. A user's kubectl obeys it: the API belongs in NO_PROXY",
	})
	c.recommend(s.Entropy == 0 || s.Entropy >= minEntropy, Check{
		Name: "entropy", Found: fmt.Sprintf("%d bits", s.Entropy), Want: fmt.Sprintf("%d bits", minEntropy),
		Hint: "keys take minutes to make: give the virtual machine a virtio-rng device, or run rngd",
	})
	checkNameServers(c, in, h, f)
	checkManagers(c, h, f)
	if !h.IsNode() {
		return
	}
	checkKmem(c, f)
	checkCNIFiles(c, in, f)
	few := s.InotifyInstances > 0 && s.InotifyInstances < minInstances || s.InotifyWatches > 0 && s.InotifyWatches < minWatches
	c.recommend(!few, Check{
		Name: "inotify", Found: fmt.Sprintf("%d instances, %d watches", s.InotifyInstances, s.InotifyWatches),
		Want: fmt.Sprintf("%d instances, %d watches", minInstances, minWatches),
		Hint: `pods fail with "too many open files": set fs.inotify.max_user_instances: "8192" and fs.inotify.max_user_watches: "524288" in hostPreparation.sysctls`,
	})
}

// checkManagers warns of other programs that change the host, which the administrator has
// to stop.
func checkManagers(c *checks, h manifests.Host, f facts.Facts) {
	found := cmp.Or(strings.Join(f.System.Updates, ", "), "none")
	if f.System.UpdatesBoot {
		found += ", which boots the host if an update needs it"
	}
	c.recommend(len(f.System.Updates) == 0, Check{
		Name: "automatic-updates", Found: found, Want: "updates of one host after the other",
		Hint: "they restart services and boot hosts, of all control planes in the same night: switch them off, or give each host a night of its own",
	})
	short, _, _ := strings.Cut(h.Name, ".")
	names := slices.DeleteFunc(slices.Clone(f.System.LoopbackNames), func(n string) bool { return n != h.Name && n != short })
	c.recommend(len(names) == 0, Check{
		Name: "loopback-name", Found: cmp.Or(strings.Join(names, ", "), "none"), Want: "no name of the host for loopback in /etc/hosts",
		Hint: "programs that look up their own host, such as pods with hostNetwork, get 127.0.1.1: remove the line, which Debian's installer writes",
	})
}

// use is a directory that the cluster uses, and the mount options that it must not have,
// and those that only some pods suffer from.
type use struct {
	path             string
	refuses, dislike []string
}

// uses returns the directories that the host uses.
func (in Input) uses(h manifests.Host) []use {
	readOnly := []string{"ro"}
	out := []use{{"/etc", readOnly, nil}, {step.BinDir, []string{"ro", "noexec"}, nil}, {"/var/lib", readOnly, nil}}
	if h.HasRole(manifests.RoleEtcd) {
		out = append(out, use{etcdData, readOnly, nil})
	}
	if h.IsNode() {
		out = append(out,
			use{"/opt/cni/bin", []string{"ro", "noexec"}, nil}, use{kubeletDir, readOnly, []string{"noexec"}},
			use{in.runtime().dataDir(), []string{"ro", "noexec"}, []string{"nosuid"}})
	}
	return out
}

// checkMounts checks the options of the file systems that the host uses.
func checkMounts(c *checks, in Input, h manifests.Host, f facts.Facts) {
	var bad, odd []string
	for _, u := range in.uses(h) {
		i := slices.IndexFunc(f.Disks, func(d facts.Disk) bool { return d.Path == u.path })
		if i < 0 {
			continue
		}
		for _, o := range f.Disks[i].Options {
			switch found := u.path + " " + o; {
			case slices.Contains(u.refuses, o):
				bad = append(bad, found)
			case slices.Contains(u.dislike, o):
				odd = append(odd, found)
			}
		}
	}
	check := Check{
		Name: "mounts", Found: cmp.Or(strings.Join(slices.Concat(bad, odd), ", "), "nothing in the way"), Want: "writable directories with programs that run",
		Hint: "correct the options in /etc/fstab, or mount another file system there",
	}
	if len(bad) > 0 || len(odd) == 0 {
		c.require(len(bad) == 0, check)
		return
	}
	check.Hint = "programs in volumes do not run, or not as another user; " + check.Hint
	c.recommend(false, check)
}

// checkForecast compares the free space of each file system with what an installation
// writes there: programs and packages as the Lock has them, and minData for the rest.
func checkForecast(c *checks, in Input, h manifests.Host, f facts.Facts) {
	if installed(in, f) {
		return // it has been written
	}
	programs, packages := in.sizes(h)
	parts := map[string]int64{step.BinDir: programs, "/": packages, "/var/lib": minData}
	wanted, free := map[uint64]int64{}, map[uint64]facts.Disk{}
	hard := map[uint64]int64{}
	for _, d := range f.Disks {
		n, ok := parts[d.Path]
		if !ok {
			continue
		}
		wanted[d.Device] += n
		if d.Path != "/var/lib" {
			hard[d.Device] += n
		}
		if _, has := free[d.Device]; !has {
			free[d.Device] = d
		}
	}
	var short []string
	check := Check{Name: "disk-forecast", Want: fmt.Sprintf("%s for programs, %s for packages, %s below /var/lib", mib(programs), mib(packages), mib(minData))}
	full := false
	for _, d := range f.Disks {
		if at, ok := free[d.Device]; !ok || at.Path != d.Path || d.FreeBytes >= wanted[d.Device] {
			continue
		}
		short = append(short, fmt.Sprintf("%s free at %s, and %s will be written", mib(d.FreeBytes), d.Path, mib(wanted[d.Device])))
		full = full || d.FreeBytes < hard[d.Device]
	}
	check.Found = cmp.Or(strings.Join(short, "; "), "enough on each file system")
	check.Hint = "make room, or mount a larger disk there"
	if full {
		c.require(false, check)
	} else {
		c.recommend(len(short) == 0, check)
	}
}

// sizes returns the bytes of all programs and packages of the bundle for a host.
func (in Input) sizes(h manifests.Host) (programs, packages int64) {
	platform := manifests.Platform(in.arch(h))
	d, err := in.distro(h)
	for _, a := range in.Lock.Artifacts {
		switch {
		case a.Platform != platform && a.Platform != "":
		case a.Kind == manifests.KindFile:
			programs += max(a.Plain.Size, a.Blob.Size)
		case err == nil && a.Distro == d.Name:
			packages += a.Blob.Size * unpacked
		}
	}
	return programs, packages
}

// checkSELinux checks that SELinux stays as it is, and that labels are set if it enforces.
func checkSELinux(c *checks, in Input, f facts.Facts) {
	check := Check{Name: "selinux", Found: cmp.Or(f.SELinux, "disabled")}
	boot := f.System.SELinuxBoot
	switch {
	case boot != "" && f.SELinux != "" && boot != f.SELinux:
		check.Found += ", " + boot + " after the next boot"
		check.Want = "the same mode before and after a boot"
		check.Hint = "correct SELINUX= in /etc/selinux/config, or boot now: files that are written meanwhile have no labels"
	case f.SELinux == "enforcing" && in.skips("selinux"):
		check.Want = "labels of programs and directories"
		check.Hint = "hostPreparation.skip has selinux: set the labels yourself, or remove it there"
	}
	c.recommend(check.Want == "", check)
}

// checkFapolicyd refuses a host on which only programs of RPMs run.
func checkFapolicyd(c *checks, f facts.Facts) {
	if f.System.Fapolicyd == "" {
		return
	}
	check := Check{
		Name: "fapolicyd", Found: f.System.Fapolicyd, Want: "rules for programs in /usr/local and /opt/cni/bin",
		Hint: "write the lines \"allow perm=any all : dir=/usr/local/\" and \"allow perm=any all : dir=/opt/cni/bin/\" into /etc/fapolicyd/rules.d/30-offk8s.rules, and restart fapolicyd",
	}
	if f.System.FapolicydTrusts {
		check.Found += ", with rules for /usr/local"
	}
	c.require(f.System.FapolicydTrusts || f.System.Fapolicyd != "enforcing", check)
}

// checkNameServers refuses a name server that is the cluster's DNS, which would ask itself.
func checkNameServers(c *checks, in Input, h manifests.Host, f facts.Facts) {
	services, err := netip.ParsePrefix(in.Cluster.ServiceCIDRs()[0]) // that of the DNS
	if err != nil || !h.IsNode() {
		return
	}
	check := Check{Name: "name-servers", Found: cmp.Or(strings.Join(f.Resolvers, ", "), "none that pods reach"), Want: "servers outside the cluster"}
	loop := slices.ContainsFunc(f.Resolvers, func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err == nil && services.Contains(a)
	})
	if loop {
		check.Hint = "the DNS of the cluster would ask itself: remove the address of the service from " + f.ResolvConf
		c.require(false, check)
		return
	}
	only := len(f.Resolvers) == 0 && len(f.System.NameServers) > 0
	if only {
		check.Found = strings.Join(f.System.NameServers, ", ") + " in " + resolvConf
		check.Hint = "from a pod that is the pod itself, so that pods resolve no names outside the cluster; name the servers that it asks"
	}
	c.recommend(!only, check)
}

// checkKmem warns of the kernel of EL7, which loses a bit of memory with each container
// unless it does not count the memory of the kernel (kubernetes/kubernetes#61937).
func checkKmem(c *checks, f facts.Facts) {
	if !strings.HasPrefix(f.Kernel, "3.10.") {
		return
	}
	off := slices.Contains(strings.Fields(f.System.CommandLine), "cgroup.memory=nokmem")
	check := Check{Name: "kmem", Found: f.Kernel + " without cgroup.memory=nokmem", Want: "the argument cgroup.memory=nokmem of the kernel, from 3.10.0-1062"}
	if off {
		check.Found = f.Kernel + " with cgroup.memory=nokmem"
	}
	check.Hint = "install CentOS 7.7 or later, run grubby --update-kernel=ALL --args=cgroup.memory=nokmem, and boot; otherwise pods stop to start after days"
	c.recommend(off, check)
}

// checkCNIFiles refuses configurations of other pod networks: the runtime would use the
// first one before that of the cluster is there, or instead of it.
func checkCNIFiles(c *checks, in Input, f facts.Facts) {
	network, err := in.network()
	if err != nil {
		return // the steps report it
	}
	others := slices.DeleteFunc(slices.Clone(f.System.CNIFiles), func(file string) bool {
		return slices.ContainsFunc(network.Files, func(own string) bool { ok, _ := path.Match(own, file); return ok })
	})
	check := Check{
		Name: "cni-files", Found: cmp.Or(strings.Join(others, ", "), "no others"), Want: "no configuration of another pod network",
		Hint: "remove them, with the package that brought them: nodes would be ready with that network",
	}
	if installed(in, f) {
		c.recommend(len(others) == 0, check)
	} else {
		c.require(len(others) == 0, check)
	}
}

// checkSync checks the answers about the disks of etcd.
func checkSync(c *checks, in Input) {
	for _, h := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		c.host = h.Name
		for _, a := range in.Answers[h.Name] {
			if a.Kind != probe.Sync {
				continue
			}
			check := Check{
				Name: "etcd-disk", Found: fmt.Sprintf("%.1f ms for 99 of 100 writes", float64(a.Latency.Microseconds())/1000), Want: fmt.Sprintf("%d ms", maxSync.Milliseconds()),
				Hint: "put " + a.Path + " on an SSD that nothing else uses; a slow one makes members of etcd lose their leader",
			}
			if a.Error != "" {
				check.Found, check.Hint = "not measured: "+a.Error, ""
			}
			c.recommend(a.Error == "" && a.Latency <= maxSync, check)
		}
	}
}
