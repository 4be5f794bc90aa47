package stage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
)

// Whoever else manages the host leaves the cluster's parts of it alone, by files that reset
// removes.
func TestManagers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Input, *facts.Facts)
		want   map[string]string // parts of files by step; "" means no such step
	}{
		{"nobody", func(*Input, *facts.Facts) {}, map[string]string{
			"networkd": "", "journal": "", "cloud-init": "", "unmanaged": "", "mac-policy": "OriginalName=flannel.1 flannel-v6.1 cni0 veth*\n\n[Link]\nMACAddressPolicy=none\n",
		}},
		{"systemd of EL7", func(_ *Input, f *facts.Facts) { f.Systemd, f.System.Networkd = 219, true }, map[string]string{
			"mac-policy": "OriginalName=flannel.1 flannel-v6.1 cni0 veth*\n\n[Link]\n", "networkd": "",
		}},
		{"NetworkManager", func(_ *Input, f *facts.Facts) { f.NetworkManager = true }, map[string]string{
			"unmanaged": "unmanaged-devices+=interface-name:flannel.1;interface-name:flannel-v6.1;interface-name:cni0;interface-name:veth*\n",
		}},
		{"networkd", func(_ *Input, f *facts.Facts) { f.System.Networkd = true }, map[string]string{"networkd": "ManageForeignRoutes=no\n"}},
		{"journal on request", func(in *Input, _ *facts.Facts) { in.Cluster.HostPrep.PersistentJournal = true }, map[string]string{
			"journal": "[Journal]\nStorage=persistent\n",
		}},
		{"cloud-init", func(_ *Input, f *facts.Facts) { f.System.CloudInit = true }, map[string]string{
			"cloud-init": "preserve_hostname: true\nmanage_etc_hosts: false\n",
		}},
		{"user-data about /etc/hosts", func(_ *Input, f *facts.Facts) {
			f.System.CloudInit, f.System.HostsTemplate = true, "/etc/cloud/templates/hosts.debian.tmpl"
		}, map[string]string{"cloud-init": "manage_etc_hosts: false\n", "cloud-init-hosts": "10.0.0.12 node-1"}},
		{"user-data, /etc/hosts is the site's", func(in *Input, f *facts.Facts) {
			f.System.HostsTemplate, in.Cluster.HostPrep.Skip = "/etc/cloud/templates/hosts.debian.tmpl", []string{"hosts"}
		}, map[string]string{"cloud-init-hosts": ""}},
		{"cloud-init, the name is the site's", func(in *Input, f *facts.Facts) {
			f.System.CloudInit, in.Cluster.HostPrep.Skip = true, []string{"hostname"}
		}, map[string]string{"cloud-init": "offk8s\nmanage_etc_hosts: false\n"}},
		{"cloud-init, all is the site's", func(in *Input, f *facts.Facts) {
			f.System.CloudInit, in.Cluster.HostPrep.Skip = true, []string{"hostname", "hosts"}
		}, map[string]string{"cloud-init": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := testInput(t, "1.36")
			f := in.Facts["node-1"]
			tt.change(&in, &f)
			in.Facts["node-1"] = f
			got := steps(t, in, "host", "node-1")
			for id, part := range tt.want {
				it, ok := got[id]
				if ok != (part != "") {
					t.Errorf("step %s: there %t", id, ok)
					continue
				}
				var text string
				switch s := it.Step.(type) {
				case *step.File:
					text = s.Content
				case *step.Block:
					text = strings.Join(s.Lines, "\n")
				}
				if !strings.Contains(text, part) {
					t.Errorf("step %s: no %q in\n%s", id, part, text)
				}
			}
		})
	}
	in := testInput(t, "1.36")
	f := in.Facts["node-1"]
	f.System.NMCloudSetup, f.NetworkManager = true, true
	in.Facts["node-1"] = f
	for _, u := range []string{"nm-cloud-setup.timer", "nm-cloud-setup.service"} {
		it, ok := steps(t, in, "host", "node-1")["no-"+u]
		if s, is := it.Step.(*step.Unit); !ok || !is || !s.Stopped || s.Name != u {
			t.Errorf("%s: step %+v", u, it.Step)
		}
	}
}

// If the host gives services a proxy, every unit of offk8s empties its variables; other
// hosts, and those where only logins have a proxy, keep their units as they are.
func TestNoProxies(t *testing.T) {
	for proxy, on := range map[string]bool{"": false, "HTTPS_PROXY in /etc/environment": false, "HTTPS_PROXY in /etc/systemd/system.conf": true} {
		in := testInput(t, "1.36")
		for name, f := range in.Facts {
			if proxy != "" {
				f.System.Proxies = []string{proxy}
			}
			in.Facts[name] = f
		}
		services, without := 0, 0
		for p := range plan(t, in) {
			if u, ok := p.Step.(*step.Unit); ok && strings.Contains(u.Content, "[Service]\n") {
				services++
				without += strings.Count(u.Content, "[Service]\nEnvironment=HTTP_PROXY= HTTPS_PROXY= ALL_PROXY= http_proxy= https_proxy= all_proxy=\n")
			}
		}
		if services == 0 || on && without != services || !on && without != 0 {
			t.Errorf("%q: %d of %d services do without", proxy, without, services)
		}
	}
}

// TestNetworkManagerReload runs the script with stand-ins: NetworkManager is asked for its
// configuration alone, since with systemd's reload it writes /etc/resolv.conf too.
func TestNetworkManagerReload(t *testing.T) {
	const call = "busctl call org.freedesktop.NetworkManager /org/freedesktop/NetworkManager org.freedesktop.NetworkManager Reload u 1\n"
	for _, tt := range []struct {
		name            string
		active, version bool // it runs; it has the method
		want            string
	}{
		{"it runs", true, true, call},
		{"older than 1.22", true, false, call + "systemctl reload NetworkManager.service\n"},
		{"it does not run", false, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, script := range map[string]string{
				"systemctl": fmt.Sprintf("[ $1 != -q ] || exit %d\necho systemctl \"$@\"\n", exitCode(tt.active)),
				"busctl":    fmt.Sprintf("echo busctl \"$@\"\nexit %d\n", exitCode(tt.version)),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("sh", "-c", reloadManager)
			cmd.Env = []string{"PATH=" + dir + ":/bin"}
			if got, err := cmd.Output(); err != nil || string(got) != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func exitCode(ok bool) int {
	if ok {
		return 0
	}
	return 3
}
