package facts

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestSystem(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  System
	}{
		{name: "nothing"},
		{"kernel and identity", map[string]string{
			"/proc/cmdline": "BOOT_IMAGE=/vmlinuz ro cgroup.memory=nokmem\n", "/etc/machine-id": "0123\n", "/sys/class/dmi/id/product_uuid": "4C4C-AB\n",
			"/proc/sys/kernel/random/entropy_avail": "256\n", "/proc/sys/fs/inotify/max_user_instances": "128\n", "/proc/sys/fs/inotify/max_user_watches": "8192\n",
			"/etc/selinux/config": "# SELINUX=disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
		}, System{
			CommandLine: "BOOT_IMAGE=/vmlinuz ro cgroup.memory=nokmem", MachineID: "0123", ProductUUID: "4c4c-ab", Entropy: 256,
			InotifyInstances: 128, InotifyWatches: 8192, SELinuxBoot: "enforcing",
		}},
		{"proxies", map[string]string{
			"/etc/environment":                    "PATH=/bin\nexport HTTPS_PROXY=\"http://proxy:3128\"\nno_proxy=corp\nhttp_proxy=\n",
			"/etc/systemd/system.conf":            "[Manager]\n#DefaultEnvironment=HTTP_PROXY=x\n",
			"/etc/systemd/system.conf.d/p.conf":   "[Manager]\nDefaultEnvironment=\"HTTP_PROXY=http://proxy\" LANG=C ALL_PROXY=socks\n",
			"/etc/systemd/system.conf.d/p.backup": "DefaultEnvironment=http_proxy=x\n",
		}, System{Proxies: []string{
			"HTTPS_PROXY in /etc/environment", "HTTP_PROXY in /etc/systemd/system.conf.d/p.conf", "ALL_PROXY in /etc/systemd/system.conf.d/p.conf",
		}}},
		{"fapolicyd", map[string]string{
			"/run/fapolicyd.pid": "7\n", "/etc/fapolicyd/fapolicyd.conf": "permissive = 0\n", "/etc/fapolicyd/rules.d/90.rules": "deny_audit perm=execute all : all\n",
		}, System{Fapolicyd: "enforcing"}},
		{"fapolicyd with rules", map[string]string{
			"/run/fapolicyd.pid": "7\n", "/etc/fapolicyd/fapolicyd.conf": "permissive = 1\n", "/etc/fapolicyd/rules.d/30.rules": "allow perm=any all : dir=/usr/local/\n",
		}, System{Fapolicyd: "permissive", FapolicydTrusts: true}},
		{"fapolicyd does not run", map[string]string{"/etc/fapolicyd/fapolicyd.conf": "permissive = 0\n"}, System{}},
		{"managers", map[string]string{
			"/etc/cloud/cloud.cfg": "", "/run/systemd/netif/state": "", "/usr/lib/systemd/system/nm-cloud-setup.timer": "",
		}, System{CloudInit: true, NMCloudSetup: true, Networkd: true}},
		{"user-data about /etc/hosts", map[string]string{
			"/etc/cloud/cloud.cfg": "", "/var/lib/cloud/instance/cloud-config.txt": "#cloud-config\n\n# from 1 files\n\n---\nmanage_etc_hosts: true\n...\n",
			"/var/lib/cloud/instance/vendor-cloud-config.txt": "", "/etc/cloud/templates/hosts.debian.tmpl": "", "/etc/cloud/templates/hosts.redhat.tmpl": "", "/usr/bin/apt-get": "",
		}, System{CloudInit: true, HostsTemplate: "/etc/cloud/templates/hosts.debian.tmpl"}},
		{"vendor-data about /etc/hosts", map[string]string{
			"/var/lib/cloud/instance/vendor-cloud-config.txt": "manage_etc_hosts: 'template'\n", "/etc/cloud/templates/hosts.redhat.tmpl": "",
		}, System{HostsTemplate: "/etc/cloud/templates/hosts.redhat.tmpl"}},
		{"user-data about one line of /etc/hosts", map[string]string{
			"/var/lib/cloud/instance/cloud-config.txt": "manage_etc_hosts: localhost\n", "/etc/cloud/templates/hosts.redhat.tmpl": "",
		}, System{}},
		{"updates of Debian", map[string]string{
			"/usr/bin/unattended-upgrade":         "",
			"/etc/apt/apt.conf.d/20auto-upgrades": "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n",
			"/etc/apt/apt.conf.d/50unattended":    "//Unattended-Upgrade::Automatic-Reboot \"false\";\nUnattended-Upgrade::Automatic-Reboot-Time \"02:00\";\n",
			"/etc/apt/apt.conf.d/52local":         "Unattended-Upgrade::Automatic-Reboot \"true\";\n",
			"/etc/hosts":                          "127.0.0.1 localhost\n127.0.1.1 cp-1.example.com cp-1 # by the installer\n::1 ip6-localhost localhost6\n10.0.0.1 other\n",
		}, System{Updates: []string{"unattended-upgrades"}, UpdatesBoot: true, LoopbackNames: []string{"cp-1.example.com", "cp-1"}}},
		{"updates of Debian that are off", map[string]string{
			"/usr/bin/unattended-upgrade": "", "/etc/apt/apt.conf.d/20auto-upgrades": "APT::Periodic::Unattended-Upgrade \"0\";\n",
		}, System{}},
		{"updates of EL", map[string]string{
			"/etc/systemd/system/timers.target.wants/dnf-automatic.timer": "", "/etc/dnf/automatic.conf": "[commands]\napply_updates = yes\nreboot = when-needed\n",
			"/etc/systemd/system/multi-user.target.wants/yum-cron.service": "", "/etc/yum/yum-cron.conf": "apply_updates = yes\n",
		}, System{Updates: []string{"dnf-automatic", "yum-cron"}, UpdatesBoot: true}},
		{"updates of EL that are only downloaded", map[string]string{
			"/etc/systemd/system/timers.target.wants/dnf-automatic.timer": "", "/etc/dnf/automatic.conf": "[commands]\napply_updates = no\nreboot = never\n",
			"/etc/systemd/system/multi-user.target.wants/yum-cron.service": "", "/etc/yum/yum-cron.conf": "apply_updates = no\n",
		}, System{}},
		{"networks", map[string]string{
			"/etc/cni/net.d/87-podman.conflist": "{}", "/etc/cni/net.d/10-flannel.conflist": "{}", "/etc/cni/net.d/.cache": "", "/etc/cni/net.d/README.md": "",
			"/etc/resolv.conf": "nameserver 127.0.0.1\nnameserver ::1 # local\nnameserver dns\n",
		}, System{
			CNIFiles:    []string{"/etc/cni/net.d/10-flannel.conflist", "/etc/cni/net.d/87-podman.conflist"},
			NameServers: []string{"127.0.0.1", "::1"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			for path, text := range tt.files {
				w.Write(t, path, text, 0o644)
			}
			if diff := cmp.Diff(tt.want, system(w.Env())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A directory that the cluster will make is on the file system of the one above it.
func TestDisks(t *testing.T) {
	got, err := disks(steptest.New(t).Env())
	if err != nil || len(got) != len(diskPaths) {
		t.Fatalf("%d file systems, error %v", len(got), err)
	}
	for i, d := range got {
		if d.Path != diskPaths[i] || d.TotalBytes <= 0 || d.Device != got[0].Device {
			t.Errorf("%+v, want %s with the device of %+v", d, diskPaths[i], got[0])
		}
	}
}

// Facts of a usual host come from its files: a program takes longer than all of them.
func TestFactsWithoutPrograms(t *testing.T) {
	for name, tt := range map[string]struct {
		libraries []string // of systemd
		units     []string // files
		systemd   int
		firewall  string
		calls     [][]string
	}{
		"Debian":       {libraries: []string{"/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so"}, systemd: 252},
		"EL":           {libraries: []string{"/usr/lib64/systemd/libsystemd-shared-252-46.el9.so"}, systemd: 252},
		"EL7 has none": {systemd: 219, calls: [][]string{{"systemctl", "--version"}}},
		"two versions": {
			libraries: []string{"/usr/lib/systemd/libsystemd-shared-239.so", "/usr/lib/systemd/libsystemd-shared-250.so"},
			systemd:   219, calls: [][]string{{"systemctl", "--version"}},
		},
		"rules of the administrator": {
			libraries: []string{"/usr/lib/systemd/libsystemd-shared-247.so"}, systemd: 247,
			units:    []string{"/usr/lib/systemd/system/nftables.service", "/etc/systemd/system/iptables.service"},
			firewall: "nftables", calls: [][]string{{"systemctl", "show", "iptables.service", "nftables.service"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := steptest.New(t)
			files := map[string]string{
				"/run/systemd/system/x": "", "/etc/os-release": "ID=debian\nVERSION_ID=12\n",
				"/proc/sys/kernel/osrelease": "6.1\n", "/proc/sys/kernel/hostname": "a\n", "/proc/meminfo": "MemTotal: 4194304 kB\n",
			}
			for _, path := range append(tt.libraries, tt.units...) {
				files[path] = ""
			}
			for path, text := range files {
				w.Write(t, path, text, 0o644)
			}
			w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
				switch {
				case c.Argv[0] != "systemctl":
					return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
				case c.Argv[1] == "--version":
					return steptest.Say("systemd 219\n+PAM\n")
				}
				return steptest.Say("LoadState=loaded\nActiveState=inactive\n\nLoadState=loaded\nActiveState=active\n")
			}
			f, err := Collect(t.Context(), w.Env(), nil)
			if err != nil || f.Systemd != tt.systemd || f.Firewall != tt.firewall {
				t.Errorf("systemd %d, firewall %q, error %v", f.Systemd, f.Firewall, err)
			}
			var calls [][]string
			for _, c := range w.Calls {
				if c[0] == "systemctl" { // others are not there
					calls = append(calls, slices.DeleteFunc(c, func(a string) bool { return strings.HasPrefix(a, "--") && a != "--version" }))
				}
			}
			if diff := cmp.Diff(tt.calls, calls); diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
		})
	}
}
