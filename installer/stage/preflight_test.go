package stage

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

func TestPreflight(t *testing.T) {
	host := func(change func(*facts.Facts)) func(*Input) {
		return func(in *Input) {
			f := in.Facts["node-1"]
			change(&f)
			in.Facts["node-1"] = f
		}
	}
	tests := []struct {
		name   string
		minor  string
		change func(*Input)
		want   string // check that fails; empty: none
		hint   string
	}{
		{"good", "1.36", func(*Input) {}, "", ""},
		{"IPv6", "1.36", func(in *Input) {
			in.Cluster.Network = manifests.ClusterNetwork{PodCIDR: "fd00:10::/56", ServiceCIDR: "fd00:96::/112"}
		}, "address-family", `pod network "flannel"`},
		{"IPv6, ignored", "1.16", func(in *Input) {
			in.Cluster.Network.PodCIDR = "fd00:10::/56"
			in.Cluster.HostPrep.IgnorePreflight = []string{"address-family", "pod-range"}
		}, "address-family", "later version"},
		{"IPv6 host", "1.36", func(in *Input) {
			in.Cluster.Hosts[0].Address = "fd00::1"
			f := in.Facts["cp-1"]
			f.Addresses = append(f.Addresses, facts.Address{Prefix: netip.MustParsePrefix("fd00::1/64")})
			in.Facts["cp-1"] = f
		}, "address-family", "later version"},
		{"containerd 2 in a bundle with containerd 1.7", "1.16", func(in *Input) {
			in.Cluster.Runtime.Config = table{"plugins": table{"io.containerd.cri.v1.runtime": table{"enable_selinux": true}}}
		}, "runtime-config", "ignore"},
		{"containerd 1.7 in a bundle with containerd 2", "1.36", func(in *Input) {
			in.Cluster.Runtime.Config = table{"plugins": table{"io.containerd.grpc.v1.cri": table{"enable_selinux": true}}}
		}, "runtime-config", "ignore"},
		{"streaming in containerd 2", "1.36", func(in *Input) {
			in.Cluster.Runtime.Config = table{"plugins": table{"io.containerd.grpc.v1.cri": table{"stream_server_port": "0"}, "io.containerd.cri.v1.runtime": table{"enable_selinux": true}}}
		}, "", ""},
		{"no facts, os that the bundle lacks", "1.36", func(in *Input) {
			in.Facts, in.Cluster.Hosts[1].OS = nil, "ubuntu-22.04"
		}, "os", "correct os:"},
		{"no facts", "1.36", func(in *Input) { in.Facts, in.Cluster.Hosts[1].OS = nil, "rocky-9" }, "", ""},
		{"other operating system", "1.36", host(func(f *facts.Facts) { f.OS = catalog.OSRelease{ID: "arch"} }), "os", "--os"},
		{"distro that is not in the bundle", "1.36", host(func(f *facts.Facts) { f.OS = catalog.OSRelease{ID: "centos", Version: "7"} }), "os", "--os"},
		{"relative", "1.36", host(func(f *facts.Facts) { f.OS = rhel("9.4") }), "", ""},
		{"relative that cluster.yaml names", "1.36", func(in *Input) {
			in.Cluster.Hosts[1].OS = "rhel-9"
			host(func(f *facts.Facts) { f.OS = rhel("9.4") })(in)
		}, "", ""},
		{"relative whose packages cluster.yaml names", "1.36", func(in *Input) {
			in.Cluster.Hosts[1].OS = "rocky-9"
			host(func(f *facts.Facts) { f.OS = rhel("9.4") })(in)
		}, "", ""},
		{"no facts, relative", "1.36", func(in *Input) { in.Facts, in.Cluster.Hosts[1].OS = nil, "rhel-9" }, "", ""},
		{"no facts, relative of another major", "1.36", func(in *Input) { in.Facts, in.Cluster.Hosts[1].OS = nil, "rhel-8" }, "os", "rocky-9 is for version 9"},
		{"relative of another major", "1.36", host(func(f *facts.Facts) { f.OS = rhel("8.10") }), "os", "rocky-9 is for version 9"},
		{"other operating system than expected", "1.36", func(in *Input) {
			for i := range in.Cluster.Hosts {
				if in.Cluster.Hosts[i].Name == "node-1" {
					in.Cluster.Hosts[i].OS = "centos-7"
				}
			}
		}, "os-expected", "correct os:"},
		{"other architecture", "1.36", host(func(f *facts.Facts) { f.Arch = "arm64" }), "arch", "--arch"},
		{"no systemd", "1.36", host(func(f *facts.Facts) { f.Systemd = 0 }), "systemd", ""},
		{"wrong address", "1.36", host(func(f *facts.Facts) { f.Addresses = nil }), "address", "cluster.yaml"},
		{"small memory", "1.36", host(func(f *facts.Facts) { f.MemoryBytes = 512 << 20 }), "memory", ""},
		{"small disk for programs", "1.36", host(func(f *facts.Facts) { f.Disks[1].FreeBytes = 1 << 20 }), "disk-programs", ""},
		{"old XFS", "1.16", host(func(f *facts.Facts) { f.NoFileTypes = true }), "file-types", "ftype=1"},
		{"port in use", "1.36", host(func(f *facts.Facts) { f.Listening = []facts.Listener{{Protocol: "tcp", Port: 10250}} }), "ports", "stop"},
		{"own port in use", "1.36", host(func(f *facts.Facts) {
			f.Listening = []facts.Listener{{Protocol: "tcp", Port: 10250}}
			f.Installed = &facts.Installed{Cluster: "test"}
		}), "", ""},
		{"another cluster of ours", "1.36", host(func(f *facts.Facts) { f.Installed = &facts.Installed{Cluster: "prod"} }), "other-cluster", "reset"},
		{"another Kubernetes", "1.36", host(func(f *facts.Facts) { f.State = []string{"/etc/kubernetes", "/var/lib/kubelet"} }), "foreign-state", ""},
		{"empty mount points", "1.36", host(func(f *facts.Facts) { f.State = []string{"/var/lib/kubelet", "/var/lib/containerd"} }), "", ""},
		{"swap stays", "1.36", func(in *Input) {
			in.Cluster.HostPrep.Skip = []string{"swap"}
			host(func(f *facts.Facts) { f.SwapBytes = 1 << 30 })(in)
		}, "swap", ""},
		{"1.16 with cgroup v2 alone", "1.16", host(func(f *facts.Facts) { f.Cgroups = []int{2} }), "cgroups", "unified_cgroup_hierarchy=0"},
		{"1.36 with cgroup v1 alone", "1.36", host(func(f *facts.Facts) { f.Cgroups = []int{1} }), "cgroups", "failCgroupV1"},
		{"1.36 with cgroup v1, allowed", "1.36", func(in *Input) {
			in.Cluster.Kubelet.Config = table{"failCgroupV1": false}
			host(func(f *facts.Facts) { f.Cgroups = []int{1} })(in)
		}, "", ""},
		{"ignored", "1.36", func(in *Input) {
			in.Cluster.HostPrep.IgnorePreflight = []string{"memory"}
			host(func(f *facts.Facts) { f.MemoryBytes = 1 })(in)
		}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := testInput(t, tt.minor)
			tt.change(&in)
			bad := Failed(preflight(in))
			if tt.want == "" {
				if len(bad) > 0 {
					t.Fatalf("failed: %v", bad)
				}
				return
			}
			if len(bad) != 1 || bad[0].Name != tt.want || !strings.Contains(bad[0].Hint, tt.hint) {
				t.Errorf("failed: %v, want %q with hint %q", bad, tt.want, tt.hint)
			}
		})
	}
}

func rhel(version string) catalog.OSRelease {
	return catalog.OSRelease{ID: "rhel", Version: version, Like: []string{"fedora"}, Name: "Red Hat Enterprise Linux " + version}
}

// The plan and the checks say whose packages a host uses.
func TestRelatives(t *testing.T) {
	in := testInput(t, "1.36")
	alma, err := embedded(t).Distro("almalinux-9")
	if err != nil {
		t.Fatal(err)
	}
	in.Lock.Distros, in.Lock.DistroData[alma.Name] = append([]string{alma.Name}, in.Lock.Distros...), alma
	for _, tt := range []struct {
		os, expected, want string
		relative           bool
	}{
		{"rhel", "", "almalinux-9", true},
		{"rhel", "rocky-9", "rocky-9", true},
		{"almalinux", "", "almalinux-9", false},
		{"rocky", "", "rocky-9", false},
	} {
		f := in.Facts["node-1"]
		f.OS = rhel("9.4")
		f.OS.ID = tt.os
		in.Facts["node-1"], in.Cluster.Hosts[1].OS = f, tt.expected
		item := steps(t, in, "host", "node-1")["mirror-source"]
		if repo := item.Step.(*step.File).Content; !strings.Contains(repo, "/yum/"+tt.want+"/") {
			t.Errorf("%s: want the repository of %s:\n%s", tt.os, tt.want, repo)
		}
		text := "uses the packages of " + tt.want
		i := slices.IndexFunc(preflight(in), func(c Check) bool { return c.Host == "node-1" && c.Name == "os" })
		found := preflight(in)[i].Found
		if strings.Contains(item.Why, text) != tt.relative || strings.Contains(found, text) != tt.relative {
			t.Errorf("%s: the plan says %q, the check %q", tt.os, item.Why, found)
		}
	}
}

// All problems are told at once.
func TestPreflightCollects(t *testing.T) {
	in := testInput(t, "1.36")
	for name, f := range in.Facts {
		f.MemoryBytes, f.Arch = 0, "riscv64"
		in.Facts[name] = f
	}
	if bad := Failed(preflight(in)); len(bad) != 6 {
		t.Errorf("%d failures, want 6: %v", len(bad), bad)
	}
}

// Rules that an administrator loads by a service are not ours to open, nor to stop at.
func TestForeignFirewall(t *testing.T) {
	for name, want := range map[string]Verdict{"": Pass, "firewalld": Pass, "ufw": Pass, "iptables": Warn, "nftables": Warn} {
		in := testInput(t, "1.36")
		f := in.Facts["node-1"]
		f.Firewall = name
		in.Facts["node-1"] = f
		i := slices.IndexFunc(preflight(in), func(c Check) bool { return c.Host == "node-1" && c.Name == "firewall" })
		if i < 0 || preflight(in)[i].Verdict != want {
			t.Errorf("%q: want %s", name, want)
		}
	}
}

func TestT48Skew(t *testing.T) {
	tests := []struct {
		offset time.Duration
		limit  string
		want   Verdict
	}{
		{0, "", Pass},
		{-4 * time.Second, "", Pass},
		{6 * time.Second, "", Warn},
		{-59 * time.Second, "", Warn},
		{61 * time.Second, "", Fail},
		{-24 * time.Hour, "", Fail},
		{2 * 365 * 24 * time.Hour, "", Fail},
		{10 * time.Minute, "1h", Warn},
		{3 * time.Second, "2s", Fail},
	}
	for _, tt := range tests {
		in := testInput(t, "1.36")
		in.Cluster.Time.MaxSkew = tt.limit
		c := Skew(in, "node-1", tt.offset)
		if c.Verdict != tt.want || c.Host != "node-1" {
			t.Errorf("offset %s, limit %q: %v, want %s", tt.offset, tt.limit, c, tt.want)
		}
		if tt.want == Fail && !strings.Contains(fmt.Sprint(c), "certificates would not be valid") {
			t.Errorf("no reason in %v", c)
		}
	}
}
