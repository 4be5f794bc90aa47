package stage

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/manifests"
)

// checkCase changes the facts of node-1, or the input, and names a check of it.
type checkCase struct {
	name    string
	minor   string // 1.36 unless it is set
	change  func(*Input, *facts.Facts)
	check   string
	verdict Verdict
	found   string // part of it
	hint    string
}

func runChecks(t *testing.T, cases []checkCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			minor := tt.minor
			if minor == "" {
				minor = "1.36"
			}
			in := testInput(t, minor)
			f := in.Facts["node-1"]
			tt.change(&in, &f)
			in.Facts["node-1"] = f
			list := preflight(in)
			i := slices.IndexFunc(list, func(c Check) bool { return c.Host == "node-1" && c.Name == tt.check })
			if i < 0 {
				if tt.verdict != "" {
					t.Fatalf("no check %q in %v", tt.check, list)
				}
				return
			}
			got := list[i]
			if got.Verdict != tt.verdict || !strings.Contains(got.Found, tt.found) || !strings.Contains(got.Hint, tt.hint) {
				t.Errorf("%s %+v, want %s with %q and the hint %q", got.Verdict, got, tt.verdict, tt.found, tt.hint)
			}
			for _, c := range list {
				if c.Verdict == Fail && (c.Name != tt.check || c.Host != "node-1") {
					t.Errorf("another check fails: %v", c)
				}
			}
		})
	}
}

func ours(f *facts.Facts) { f.Installed = &facts.Installed{Cluster: "test"} }

func TestSetup(t *testing.T) {
	mount := func(path string, options ...string) func(*Input, *facts.Facts) {
		return func(_ *Input, f *facts.Facts) {
			f.Disks = append(f.Disks, facts.Disk{Path: path, FreeBytes: 1 << 40, Options: options})
		}
	}
	runChecks(t, []checkCase{
		{"mounts", "", func(*Input, *facts.Facts) {}, "mounts", Pass, "nothing", ""},
		{"noexec for containers", "", mount("/var/lib/containerd", "noexec", "nosuid"), "mounts", Fail, "/var/lib/containerd noexec", "/etc/fstab"},
		{"noexec for containers, ignored", "", func(in *Input, f *facts.Facts) {
			in.Cluster.HostPrep.IgnorePreflight = []string{"mounts"}
			mount("/var/lib/containerd", "noexec")(in, f)
		}, "mounts", Warn, "noexec", ""},
		{"noexec of another runtime", "", mount("/var/lib/docker", "noexec"), "mounts", Pass, "", ""},
		{"nosuid for containers", "", mount("/var/lib/containerd", "nosuid"), "mounts", Warn, "nosuid", "another user"},
		{"noexec for volumes", "", mount("/var/lib/kubelet", "noexec"), "mounts", Warn, "/var/lib/kubelet noexec", "volumes"},
		{"read-only programs", "", mount("/opt/cni/bin", "ro"), "mounts", Fail, "/opt/cni/bin ro", ""},
		{"read-only /etc", "", mount("/etc", "ro"), "mounts", Fail, "/etc ro", ""},
		{"noexec for data", "", mount("/var/lib/etcd", "noexec", "nosuid"), "mounts", Pass, "", ""},
		{"small disk for all", "", func(_ *Input, f *facts.Facts) {
			f.Disks = []facts.Disk{{Path: "/", FreeBytes: 9 << 30, Device: 7}, {Path: "/usr/local/bin", FreeBytes: 9 << 30, Device: 7}, {Path: "/var/lib", FreeBytes: 9 << 30, Device: 7}}
		}, "disk-forecast", Warn, "9216 MiB free at /", "room"},
		{"packages do not fit", "", func(in *Input, f *facts.Facts) {
			in.Lock.Artifacts = append(in.Lock.Artifacts, manifests.Artifact{
				Kind: manifests.KindRPM, Name: "x", Distro: "rocky-9", Platform: "linux/amd64", Blob: manifests.Descriptor{Digest: digest.FromString("x"), Size: 1 << 30},
			})
			f.Disks = append(f.Disks, facts.Disk{Path: "/", FreeBytes: 2 << 30, Device: 7})
		}, "disk-forecast", Fail, "2048 MiB free at /, and 3072 MiB will be written", ""},
		{"written already", "", func(_ *Input, f *facts.Facts) { ours(f); f.Disks[0].FreeBytes = 1 << 30 }, "disk-forecast", "", "", ""},
		{"SELinux stays", "", func(_ *Input, f *facts.Facts) { f.SELinux, f.System.SELinuxBoot = "enforcing", "enforcing" }, "selinux", Pass, "", ""},
		{"SELinux comes with the next boot", "", func(_ *Input, f *facts.Facts) { f.SELinux, f.System.SELinuxBoot = "disabled", "enforcing" }, "selinux", Warn, "enforcing after", "boot now"},
		{"SELinux without labels", "", func(in *Input, f *facts.Facts) {
			f.SELinux, in.Cluster.HostPrep.Skip = "enforcing", []string{"selinux"}
		}, "selinux", Warn, "", "labels"},
		{"fapolicyd", "", func(_ *Input, f *facts.Facts) { f.System.Fapolicyd = "enforcing" }, "fapolicyd", Fail, "", "rules.d"},
		{"fapolicyd with rules", "", func(_ *Input, f *facts.Facts) { f.System.Fapolicyd, f.System.FapolicydTrusts = "enforcing", true }, "fapolicyd", Pass, "", ""},
		{"fapolicyd only logs", "", func(_ *Input, f *facts.Facts) { f.System.Fapolicyd = "permissive" }, "fapolicyd", Pass, "", ""},
		{"proxy", "", func(_ *Input, f *facts.Facts) { f.System.Proxies = []string{"HTTP_PROXY in /etc/environment"} }, "proxies", Warn, "HTTP_PROXY", "drop-in"},
		{"no updates", "", func(*Input, *facts.Facts) {}, "automatic-updates", Pass, "none", ""},
		{"updates that boot", "", func(_ *Input, f *facts.Facts) {
			f.System.Updates, f.System.UpdatesBoot = []string{"dnf-automatic"}, true
		}, "automatic-updates", Warn, "dnf-automatic, which boots", "same night"},
		{"name for loopback", "", func(_ *Input, f *facts.Facts) { f.System.LoopbackNames = []string{"node-1", "other"} }, "loopback-name", Warn, "node-1", "127.0.1.1"},
		{"another name for loopback", "", func(_ *Input, f *facts.Facts) { f.System.LoopbackNames = []string{"other"} }, "loopback-name", Pass, "none", ""},
		{"entropy", "", func(_ *Input, f *facts.Facts) { f.System.Entropy = 60 }, "entropy", Warn, "60 bits", "virtio-rng"},
		{"entropy of a new kernel", "", func(_ *Input, f *facts.Facts) { f.System.Entropy = 256 }, "entropy", Pass, "", ""},
		{"DNS asks itself", "", func(_ *Input, f *facts.Facts) { f.Resolvers, f.ResolvConf = []string{"10.96.0.10"}, resolvConf }, "name-servers", Fail, "10.96.0.10", "ask itself"},
		{"stub alone", "", func(_ *Input, f *facts.Facts) { f.System.NameServers = []string{"127.0.0.1"} }, "name-servers", Warn, "127.0.0.1", "from a pod"},
		{"stub with servers", "", func(_ *Input, f *facts.Facts) {
			f.System.NameServers, f.Resolvers = []string{"127.0.0.53"}, []string{"10.0.0.53"}
		}, "name-servers", Pass, "", ""},
		{"no name servers", "", func(*Input, *facts.Facts) {}, "name-servers", Pass, "none", ""},
		{"kernel of EL7", "1.16", func(_ *Input, f *facts.Facts) { f.Kernel = "3.10.0-1160.el7.x86_64" }, "kmem", Warn, "3.10.0-1160", "grubby"},
		{"kernel of EL7 with the argument", "1.16", func(_ *Input, f *facts.Facts) {
			f.Kernel, f.System.CommandLine = "3.10.0-1160.el7.x86_64", "ro cgroup.memory=nokmem quiet"
		}, "kmem", Pass, "with cgroup.memory=nokmem", ""},
		{"podman's network", "", func(_ *Input, f *facts.Facts) { f.System.CNIFiles = []string{"/etc/cni/net.d/87-podman.conflist"} }, "cni-files", Fail, "87-podman", "remove"},
		{"podman's network beside ours", "", func(_ *Input, f *facts.Facts) {
			ours(f)
			f.System.CNIFiles = []string{"/etc/cni/net.d/10-flannel.conflist", "/etc/cni/net.d/87-podman.conflist"}
		}, "cni-files", Warn, "87-podman", ""},
		{"our network", "", func(_ *Input, f *facts.Facts) { f.System.CNIFiles = []string{"/etc/cni/net.d/10-flannel.conflist"} }, "cni-files", Pass, "no others", ""},
		{"inotify", "", func(_ *Input, f *facts.Facts) { f.System.InotifyInstances, f.System.InotifyWatches = 128, 524288 }, "inotify", Warn, "128 instances", "sysctls"},
		{"enough inotify", "", func(_ *Input, f *facts.Facts) { f.System.InotifyInstances, f.System.InotifyWatches = 8192, 524288 }, "inotify", Pass, "", ""},
		{"another Kubernetes of snap", "", func(_ *Input, f *facts.Facts) { f.State = []string{"/var/snap/microk8s"} }, "foreign-state", Fail, "microk8s", ""},
	})
}

// The disks of etcd are measured before the first installation, and by doctor.
func TestEtcdDisk(t *testing.T) {
	in := testInput(t, "1.36")
	f := in.Facts["node-1"]
	ours(&f)
	in.Facts["node-1"] = f
	delete(in.Facts, "node-2")
	asked := func() (hosts []string) {
		for name, list := range Probes(in) {
			if slices.ContainsFunc(list, func(p probe.Probe) bool { return p.Kind == probe.Sync && p.Path == etcdData }) {
				hosts = append(hosts, name)
			}
		}
		slices.Sort(hosts)
		return hosts
	}
	if got := asked(); !slices.Equal(got, []string{"cp-1"}) {
		t.Errorf("asks %q before an installation", got)
	}
	in.Thorough = true
	if got := asked(); !slices.Equal(got, []string{"cp-1", "node-1"}) {
		t.Errorf("doctor asks %q", got)
	}
	for _, tt := range []struct {
		answer probe.Answer
		want   Verdict
		found  string
	}{
		{probe.Answer{Latency: 9900 * time.Microsecond}, Pass, "9.9 ms"},
		{probe.Answer{Latency: 48 * time.Millisecond}, Warn, "48.0 ms"},
		{probe.Answer{Error: "no space left"}, Warn, "not measured: no space left"},
	} {
		tt.answer.Probe = probe.Probe{Kind: probe.Sync, Path: etcdData}
		in.Answers = map[string][]probe.Answer{"cp-1": {tt.answer}}
		list := preflight(in)
		i := slices.IndexFunc(list, func(c Check) bool { return c.Host == "cp-1" && c.Name == "etcd-disk" })
		if i < 0 || list[i].Verdict != tt.want || !strings.Contains(list[i].Found, tt.found) {
			t.Errorf("%+v: %v, want %s with %q", tt.answer, list, tt.want, tt.found)
		}
	}
}
