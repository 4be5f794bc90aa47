package facts

import (
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// System is how the host is set up, as far as it can get in the way of a cluster.
type System struct {
	CommandLine string `json:"commandLine,omitempty"` // of the kernel
	// MachineID is /etc/machine-id and ProductUUID that of the firmware; clones have the same.
	MachineID   string `json:"machineID,omitempty"`
	ProductUUID string `json:"productUUID,omitempty"`
	Entropy     int    `json:"entropy,omitempty"` // bits that are available; 0 if unknown
	// SELinuxBoot is the mode after the next boot, as Facts.SELinux; "" without SELinux.
	SELinuxBoot string `json:"selinuxBoot,omitempty"`
	// Proxies are variables that logins or services inherit, "HTTPS_PROXY in /etc/environment".
	Proxies []string `json:"proxies,omitempty"`
	// Fapolicyd is "enforcing" or "permissive" if fapolicyd runs. FapolicydTrusts reports
	// that a rule or a trust file names the programs of offk8s.
	Fapolicyd       string   `json:"fapolicyd,omitempty"`
	FapolicydTrusts bool     `json:"fapolicydTrusts,omitempty"`
	CNIFiles        []string `json:"cniFiles,omitempty"`    // configurations of pod networks, absolute
	NameServers     []string `json:"nameServers,omitempty"` // of /etc/resolv.conf, on loopback too
	// InotifyInstances and InotifyWatches are the limits of one user; 0 if unknown.
	InotifyInstances int `json:"inotifyInstances,omitempty"`
	InotifyWatches   int `json:"inotifyWatches,omitempty"`
	// CloudInit reports that cloud-init is installed, NMCloudSetup that nm-cloud-setup is,
	// and Networkd that systemd-networkd runs.
	CloudInit bool `json:"cloudInit,omitempty"`
	// HostsTemplate is the file from which cloud-init writes /etc/hosts at each boot because
	// user-data wants it, which counts for more than files below /etc/cloud.
	HostsTemplate string `json:"hostsTemplate,omitempty"`
	NMCloudSetup  bool   `json:"nmCloudSetup,omitempty"`
	Networkd      bool   `json:"networkd,omitempty"`
	// Updates are programs that install updates without being asked, "unattended-upgrades";
	// UpdatesBoot reports that one of them may boot the host.
	Updates     []string `json:"updates,omitempty"`
	UpdatesBoot bool     `json:"updatesBoot,omitempty"`
	// LoopbackNames are the names in /etc/hosts, besides localhost, that mean loopback.
	LoopbackNames []string `json:"loopbackNames,omitempty"`
}

const loginEnvironment = "/etc/environment"

// ServiceProxy reports whether services inherit a proxy.
func (s System) ServiceProxy() bool {
	return slices.ContainsFunc(s.Proxies, func(p string) bool { return !strings.HasSuffix(p, " in "+loginEnvironment) })
}

// system reads files alone, which takes no time.
func system(env *step.Env) System {
	one := func(path string) string {
		s, _ := line(env, path) // the kernel or the host may lack it
		return s
	}
	number := func(path string) int {
		n, _ := strconv.Atoi(one(path))
		return n
	}
	there := func(path string) bool {
		_, err := os.Stat(env.Path(path))
		return err == nil
	}
	s := System{
		CloudInit: there("/etc/cloud/cloud.cfg"), Networkd: there("/run/systemd/netif/state"),
		NMCloudSetup: there("/usr/lib/systemd/system/nm-cloud-setup.timer"),
		CommandLine:  one("/proc/cmdline"), MachineID: one("/etc/machine-id"),
		ProductUUID: strings.ToLower(one("/sys/class/dmi/id/product_uuid")),
		Entropy:     number("/proc/sys/kernel/random/entropy_avail"),
		SELinuxBoot: setting(read(env, "/etc/selinux/config"), "SELINUX"),
		Proxies:     proxies(env), CNIFiles: cniFiles(env), NameServers: servers(read(env, "/etc/resolv.conf")),
		InotifyInstances: number("/proc/sys/fs/inotify/max_user_instances"),
		InotifyWatches:   number("/proc/sys/fs/inotify/max_user_watches"),
	}
	s.HostsTemplate = hostsTemplate(env)
	s.Fapolicyd, s.FapolicydTrusts = fapolicyd(env)
	s.Updates, s.UpdatesBoot = updates(env)
	s.LoopbackNames = loopbackNames(read(env, "/etc/hosts"))
	return s
}

// setting returns the value of the last line "NAME=value" or "name = value" of a file.
func setting(text, name string) (value string) {
	for l := range strings.Lines(text) {
		if k, v, ok := strings.Cut(l, "="); ok && strings.TrimSpace(k) == name {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

// proxyVariables are the names that programs look for.
var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"}

// proxies reads the environment of systemd's services (systemd-system.conf(5),
// environment.d(5) does not concern them) and of logins.
func proxies(env *step.Env) []string {
	var out []string
	files := []string{loginEnvironment, "/etc/systemd/system.conf"}
	more, _ := filepath.Glob(env.Path("/etc/systemd/system.conf.d/*.conf")) // a constant pattern
	for _, f := range more {
		files = append(files, "/etc/systemd/system.conf.d/"+filepath.Base(f))
	}
	for _, file := range files {
		for l := range strings.Lines(read(env, file)) {
			l = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(l), "export "))
			if file != loginEnvironment {
				after, ok := strings.CutPrefix(l, "DefaultEnvironment=")
				if !ok {
					continue
				}
				l = after
			}
			for _, w := range strings.Fields(l) {
				name, value, _ := strings.Cut(strings.Trim(w, `"'`), "=")
				if found := name + " in " + file; slices.Contains(proxyVariables, name) && strings.Trim(value, `"'`) != "" && !slices.Contains(out, found) {
					out = append(out, found)
				}
			}
		}
	}
	return out
}

// fapolicyd returns the mode of fapolicyd if it runs, and reports whether its rules or its
// trusted files name the directory of the programs.
func fapolicyd(env *step.Env) (mode string, trusts bool) {
	if _, err := os.Stat(env.Path("/run/fapolicyd.pid")); err != nil {
		return "", false
	}
	mode = "enforcing"
	if setting(read(env, "/etc/fapolicyd/fapolicyd.conf"), "permissive") == "1" {
		mode = "permissive"
	}
	text := readAll(env, "/etc/fapolicyd/rules.d/*.rules") + read(env, "/etc/fapolicyd/fapolicyd.rules") +
		read(env, "/etc/fapolicyd/fapolicyd.trust") + readAll(env, "/etc/fapolicyd/trust.d/*")
	return mode, strings.Contains(text, "/usr/local")
}

// cniFiles returns the files that container runtimes take for configurations of pod networks.
func cniFiles(env *step.Env) []string {
	const dir = "/etc/cni/net.d"
	entries, _ := os.ReadDir(env.Path(dir)) // most hosts have none
	var out []string
	for _, e := range entries {
		if slices.Contains([]string{".conf", ".conflist", ".json"}, path.Ext(e.Name())) {
			out = append(out, dir+"/"+e.Name())
		}
	}
	return out
}

// servers returns the name servers of a resolv.conf(5), those on loopback too.
func servers(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				out = append(out, a.String())
			}
		}
	}
	return out
}
