package stage

import (
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Files that make other managers of the host leave alone what the cluster needs.
const (
	unmanagedFile = "/etc/NetworkManager/conf.d/offk8s.conf"
	linkFile      = "/etc/systemd/network/10-offk8s.link"
	journalFile   = "/etc/systemd/journald.conf.d/offk8s.conf"
	networkdFile  = "/etc/systemd/networkd.conf.d/offk8s.conf"
	cloudInitFile = "/etc/cloud/cloud.cfg.d/99-offk8s.cfg"
)

const written = "# written by offk8s\n"

// The versions of systemd that can leave addresses of interfaces alone, and routes of others.
// All of them may give virtual interfaces an address of their own choice: EL7 has that change
// of systemd 242 too (flannel-io/flannel#1795).
const (
	systemdMACs   = 242
	systemdRoutes = 246
)

// otherManagers adds the steps that keep other managers of the host from changing what the
// cluster needs.
func otherManagers(l *list, in Input, h manifests.Host) {
	cloudInit(l, in, h)
	if in.Cluster.HostPrep.PersistentJournal {
		l.add("journal", &step.File{Path: journalFile, Content: written + "[Journal]\nStorage=persistent\n"}).Why = "cluster.yaml wants logs to survive a boot"
		l.add("journal-restart", &step.Command{
			Argv: []string{"systemctl", "restart", "systemd-journald.service"}, Once: true, Triggers: []string{journalFile},
			Text: "journald reads its configuration again",
		})
	}
	if h.IsNode() {
		networkManagers(l, in, h)
	}
}

// networkManagers adds the steps that make the managers of the host's network, if they run,
// leave the interfaces and routes of the pod network alone.
func networkManagers(l *list, in Input, h manifests.Host) {
	f := in.Facts[h.Name]
	if f.System.Networkd && f.Systemd >= systemdRoutes {
		l.add("networkd", &step.File{
			Path: networkdFile, Content: written + "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n",
		}).Why = "systemd-networkd removes the routes of pods when it restarts"
	}
	if f.System.NMCloudSetup {
		for _, u := range []string{"nm-cloud-setup.timer", "nm-cloud-setup.service"} {
			l.add("no-"+u, &step.Unit{Name: u, Stopped: true}).Why = "it removes the routes of pods"
		}
	}
	names := in.Lock.CNIRelease.Unmanaged
	if len(names) == 0 {
		return
	}
	if f.Systemd > 0 {
		link := "[Match]\nOriginalName=" + strings.Join(names, " ") + "\n\n[Link]\n"
		if f.Systemd >= systemdMACs { // before, "none" is no policy, and a file without one changes nothing
			link += "MACAddressPolicy=none\n"
		}
		l.add("mac-policy", &step.File{Path: linkFile, Content: written + link}).Why = "udev changes the address of an interface while the pod network uses it"
	}
	if f.NetworkManager {
		unmanaged(l, slices.Clone(names))
	}
}

// reloadManager makes NetworkManager read its configuration and do nothing else, which is
// flag 1 from version 1.22 on (NetworkManager's D-Bus API, "Reload"). When systemd reloads
// it, it writes /etc/resolv.conf too, in place of one that the administrator has written.
const reloadManager = `systemctl -q is-active NetworkManager.service || exit 0
busctl call org.freedesktop.NetworkManager /org/freedesktop/NetworkManager org.freedesktop.NetworkManager Reload u 1 ||
exec systemctl reload NetworkManager.service`

// unmanaged adds the steps that make NetworkManager leave interfaces alone.
func unmanaged(l *list, names []string) {
	for i, n := range names {
		names[i] = "interface-name:" + n
	}
	l.add("unmanaged", &step.File{
		Path: unmanagedFile, Content: written + "[keyfile]\nunmanaged-devices+=" + strings.Join(names, ";") + "\n",
	}).Why = "NetworkManager would change the interfaces of the pod network"
	l.add("unmanaged-reload", &step.Command{
		Argv: []string{"sh", "-c", reloadManager}, Once: true, Triggers: []string{unmanagedFile},
		Text: "NetworkManager reads its configuration again",
	})
}

// cloudInit adds the step that makes cloud-init leave the host's name and /etc/hosts alone,
// which it would write again at the next boot.
func cloudInit(l *list, in Input, h manifests.Host) {
	s := in.Facts[h.Name].System
	if s.HostsTemplate != "" && !in.skips("hosts") {
		l.add("cloud-init-hosts", &step.Block{Path: s.HostsTemplate, Lines: hostsLines(in)}).Why = "user-data makes cloud-init write /etc/hosts from it at each boot"
	}
	if !s.CloudInit {
		return
	}
	text := ""
	if !in.skips("hostname") {
		text += "preserve_hostname: true\n"
	}
	if !in.skips("hosts") {
		text += "manage_etc_hosts: false\n"
	}
	if text != "" {
		l.add("cloud-init", &step.File{Path: cloudInitFile, Content: written + text}).Why = "cloud-init sets name and /etc/hosts again at each boot"
	}
}

// ownFirewall returns the rules that a host needs whose firewall is a service with rules of
// the administrator.
func ownFirewall(in Input, h manifests.Host, f facts.Facts) []string {
	l := &list{stage: "host"}
	firewallSteps(l, in, h, in.allAddresses())
	var out []string
	for _, it := range l.items {
		if fw, ok := it.Step.(*step.Firewall); ok {
			out = append(out, fw.Lines(f.Firewall)...)
		}
	}
	return out
}
