// Package facts observes a host before anything on it is changed: operating
// system, resources, addresses, sockets in use, and traces of an earlier Kubernetes.
//
//	f, err := facts.Collect(ctx, env, nil)
//
// The agent collects the facts; preflight and planning (installer/stage) read them.
// The package neither changes a host nor judges the facts.
package facts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// Facts describes a host.
type Facts struct {
	OS     catalog.OSRelease `json:"os"`
	Arch   string            `json:"arch"` // as Go spells it, "amd64"
	Kernel string            `json:"kernel"`
	// NoModules are those of the modules asked for that the kernel neither has nor can load.
	NoModules []string `json:"noModules,omitempty"`
	Hostname  string   `json:"hostname"`
	CPUs      int      `json:"cpus"`
	// MemoryBytes is all memory, SwapBytes the swap in use now.
	MemoryBytes int64  `json:"memoryBytes"`
	SwapBytes   int64  `json:"swapBytes"`
	Disks       []Disk `json:"disks"` // of diskPaths
	// NoFileTypes reports that overlay mounts do not work below /var/lib/containerd.
	NoFileTypes bool `json:"noFileTypes,omitempty"`
	// Cgroups are the versions that have controllers, [2], [1] or [1 2].
	Cgroups  []int     `json:"cgroups"`
	SELinux  string    `json:"selinux"`  // "enforcing", "permissive" or "disabled"
	Firewall string    `json:"firewall"` // "firewalld", "ufw", "iptables", "nftables"; "" if none is active
	Systemd  int       `json:"systemd"`  // version; 0: not running under systemd
	Time     time.Time `json:"time"`     // the host's clock, UTC, nanoseconds
	Clock    Clock     `json:"clock,omitzero"`
	System   System    `json:"system,omitzero"`

	Listening []Listener `json:"listening,omitempty"`
	Addresses []Address  `json:"addresses,omitempty"`
	// DefaultRoutes are sorted by metric; nil if the kernel does not list routes.
	DefaultRoutes []Route `json:"defaultRoutes"`
	// Routes are the other routes of the main table.
	Routes []Way `json:"routes,omitempty"`
	// Manager is the package manager: "apt", "dnf", "yum" or "".
	Manager string `json:"manager,omitempty"`
	// NetworkManager reports that it runs.
	NetworkManager bool `json:"networkManager,omitempty"`
	// State lists the paths that an earlier Kubernetes, etcd or container runtime left.
	State []string `json:"state,omitempty"`
	// Resolvers are the name servers that pods can reach too; closed networks often
	// have none. ResolvConf is the file that lists them, "" if there are none.
	Resolvers  []string `json:"resolvers,omitempty"`
	ResolvConf string   `json:"resolvConf,omitempty"`
	// Etcd are the members that the etcd on this host knows, nil if none answers.
	// EtcdData reports that the member on this host has had a quorum.
	Etcd     []step.EtcdMember `json:"etcd,omitempty"`
	EtcdData bool              `json:"etcdData,omitempty"`
	Settings Settings          `json:"settings,omitzero"`
	// Installed is the bundle that offk8s installed before, nil if there is none.
	Installed *Installed `json:"installed,omitempty"`
}

// Disk is the file system that holds a path, or will hold it.
type Disk struct {
	Path       string `json:"path"`
	FreeBytes  int64  `json:"freeBytes"` // for root
	TotalBytes int64  `json:"totalBytes"`
	// Device is the same for paths in one file system; 0 if unknown.
	Device uint64 `json:"device,omitempty"`
	// Options are those of "ro", "noexec" and "nosuid" that it is mounted with.
	Options []string `json:"options,omitempty"`
}

// Listener is a socket that accepts connections or datagrams.
type Listener struct {
	Protocol string     `json:"protocol"` // "tcp" or "udp"
	Address  netip.Addr `json:"address"`
	Port     int        `json:"port"`
}

// Address is an address of a network interface that is up.
type Address struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
	MTU       int          `json:"mtu,omitempty"` // bytes
	// ReversePath is the rp_filter that applies: 0 off, 1 strict, 2 loose.
	ReversePath int    `json:"reversePath,omitempty"`
	MAC         string `json:"mac,omitempty"` // "52:54:00:00:00:01"
}

// Route is a default route for IPv4.
type Route struct {
	Interface string     `json:"interface"`
	Gateway   netip.Addr `json:"gateway,omitzero"`
	Metric    int        `json:"metric,omitempty"`
}

// Way is a route to an IPv4 network by an interface.
type Way struct {
	To        netip.Prefix `json:"to"`
	Interface string       `json:"interface"`
}

// Installed is the owner of the host's journal: a cluster, and the bundle applied last.
type Installed struct {
	Cluster  string `json:"cluster"`
	Host     string `json:"host"`
	Bundle   string `json:"bundle,omitempty"` // name
	Root     string `json:"root,omitempty"`   // digest of index.json
	Sequence int64  `json:"sequence,omitempty"`
	// Identity is the one of the cluster's credentials (pki.Credentials.Identity).
	Identity string `json:"identity,omitempty"`
	// Components are the versions of the bundle by component (manifests.Lock.Components).
	Components map[string]string `json:"components,omitempty"`
	Roles      []string          `json:"roles,omitempty"` // of this host
	// Hosts are the hosts of the cluster.yaml that was applied.
	Hosts []Member `json:"hosts,omitempty"`
	// Generation counts the runs that changed what is wanted on this host, from 1. Time
	// is when the last of them began, and Operator its "user@machine".
	Generation int       `json:"generation,omitempty"`
	Time       time.Time `json:"time,omitzero"`
	Operator   string    `json:"operator,omitempty"`
}

// Member is a host of a cluster and how to connect to it, as manifests.Host.
type Member struct {
	Name       string   `json:"name"`
	Address    string   `json:"address"`
	Roles      []string `json:"roles,omitempty"`
	Local      bool     `json:"local,omitempty"`
	SSHAddress string   `json:"sshAddress,omitempty"`
	SSHPort    int      `json:"sshPort,omitempty"`
	SSHUser    string   `json:"sshUser,omitempty"`
	SSHHostKey string   `json:"sshHostKey,omitempty"`
	SSHJump    string   `json:"sshJump,omitempty"` // bastions
}

// Interface returns the interface that has the address, and reports whether there is one.
func (f Facts) Interface(address string) (Address, bool) {
	a, err := netip.ParseAddr(address)
	i := slices.IndexFunc(f.Addresses, func(x Address) bool { return x.Prefix.Addr() == a })
	if err != nil || i < 0 {
		return Address{}, false
	}
	return f.Addresses[i], true
}

// ListensOn reports whether a socket listens on the port.
func (f Facts) ListensOn(protocol string, port int) bool {
	return slices.ContainsFunc(f.Listening, func(l Listener) bool {
		return l.Protocol == protocol && l.Port == port
	})
}

// DockerTraces are the paths of State that a docker leaves even if it does not run.
var DockerTraces = []string{"/etc/docker/daemon.json", "/var/lib/docker/image"}

// statePaths are the paths that Facts.State reports.
var statePaths = []string{
	"/etc/kubernetes", "/etc/etcd", "/etc/cni/net.d",
	"/var/lib/etcd/member", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/docker", "/var/lib/rancher", "/var/lib/k0s",
	"/var/snap/microk8s", "/var/snap/docker",
	"/run/containerd/containerd.sock", "/run/docker.sock", "/run/crio/crio.sock",
}

// Collect reads the facts of the host, and looks for kernel modules. A field stays zero if
// the host lacks the feature; Collect fails only if it cannot read something that every
// Linux has.
func Collect(ctx context.Context, env *step.Env, modules []string) (Facts, error) {
	f := Facts{
		Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), SELinux: step.SELinuxMode(env),
		Cgroups: cgroups(env), Manager: manager(env), NoFileTypes: lacksFileTypes(env),
	}
	// These may start programs, which take most of the time.
	var programs sync.WaitGroup
	programs.Go(func() { f.Firewall = firewall(ctx, env) })
	programs.Go(func() { f.Systemd = systemdVersion(ctx, env) })
	var errs []error
	var err error
	f.OS, err = osRelease(env)
	errs = append(errs, err)
	f.Kernel, err = line(env, "/proc/sys/kernel/osrelease")
	errs = append(errs, err)
	if len(modules) > 0 { // some kernels take a tenth of a second to list theirs
		f.NoModules, err = env.LacksModules(modules...)
		errs = append(errs, err)
	}
	f.Hostname, err = line(env, "/proc/sys/kernel/hostname")
	errs = append(errs, err)
	errs = append(errs, memory(env, &f))
	f.Disks, err = disks(env)
	errs = append(errs, err)
	f.Listening, err = listeners(env)
	errs = append(errs, err)
	f.Addresses, err = addresses(env)
	errs = append(errs, err)
	f.DefaultRoutes, f.Routes, err = routes(env)
	errs = append(errs, err)
	f.ResolvConf, f.Resolvers = resolvers(env)
	f.Clock, f.System, f.Settings = clock(env), system(env), settings(env)
	_, err = os.Stat(env.Path("/run/NetworkManager"))
	f.NetworkManager = err == nil
	for _, p := range slices.Concat(statePaths, DockerTraces) {
		if _, err := os.Lstat(env.Path(p)); err == nil {
			f.State = append(f.State, p)
		}
	}
	// Of a copy: the programs above write other fields.
	if (Facts{Listening: f.Listening}).ListensOn("tcp", 2379) {
		programs.Go(func() { f.Etcd = step.LocalEtcd().Members(ctx, env) })
	}
	programs.Wait()
	// Last, since the programs above take time.
	f.Time = time.Now().UTC()
	return f, errors.Join(errs...)
}

func line(env *step.Env, path string) (string, error) {
	b, err := env.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// osRelease reads os-release(5).
func osRelease(env *step.Env) (catalog.OSRelease, error) {
	b, err := env.ReadFile("/etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		b, err = env.ReadFile("/usr/lib/os-release")
	}
	if err != nil {
		return catalog.OSRelease{}, err
	}
	return catalog.ParseOSRelease(b), nil
}

// memory reads /proc/meminfo, which counts in KiB.
func memory(env *step.Env, f *Facts) error {
	b, err := env.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(b)) {
		w := strings.Fields(l)
		if len(w) < 2 {
			continue
		}
		n, err := strconv.ParseInt(w[1], 10, 64)
		if err != nil {
			continue
		}
		switch w[0] {
		case "MemTotal:":
			f.MemoryBytes = n << 10
		case "SwapTotal:":
			f.SwapBytes = n << 10
		}
	}
	return nil
}

// diskPaths are the directories that a cluster uses. Some come with it, so that they are
// below others.
var diskPaths = []string{
	"/", "/etc", "/usr/local/bin", "/opt/cni/bin", "/var/lib", "/var/lib/etcd", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/docker",
}

func disks(env *step.Env) ([]Disk, error) {
	var out []Disk
	for _, p := range diskPaths {
		var st unix.Statfs_t
		var node unix.Stat_t
		place := p
		err := unix.Statfs(env.Path(place), &st)
		for ; errors.Is(err, fs.ErrNotExist) && place != "/"; err = unix.Statfs(env.Path(place), &st) {
			place = path.Dir(place)
		}
		if err == nil {
			err = unix.Stat(env.Path(place), &node)
		}
		if err != nil {
			return nil, fmt.Errorf("free space of %q: %w", p, err)
		}
		d := Disk{Path: p, FreeBytes: int64(st.Bavail) * st.Bsize, TotalBytes: int64(st.Blocks) * st.Bsize, Device: node.Dev}
		for _, o := range []struct {
			flag int64
			name string
		}{{unix.MS_RDONLY, "ro"}, {unix.MS_NOEXEC, "noexec"}, {unix.MS_NOSUID, "nosuid"}} {
			if st.Flags&o.flag != 0 {
				d.Options = append(d.Options, o.name)
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// cgroups returns the versions that have controllers: a unified tree mounted
// beside version 1 has none.
func cgroups(env *step.Env) []int {
	var out []int
	if l, err := line(env, "/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil && l != "" {
		out = append(out, 1)
	}
	for _, p := range []string{"/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"} {
		if l, err := line(env, p); err == nil && strings.Contains(l, "memory") {
			return append(out, 2)
		}
	}
	return out
}

// systemdVersion returns the version in the name of systemd's library, so that no program
// has to start; old versions have no such library.
func systemdVersion(ctx context.Context, env *step.Env) int {
	if _, err := os.Stat(env.Path("/run/systemd/system")); err != nil {
		return 0
	}
	var found []int
	for _, dir := range []string{"/usr/lib/systemd", "/usr/lib64/systemd", "/usr/lib/*/systemd", "/lib/systemd"} {
		files, _ := filepath.Glob(env.Path(dir + "/libsystemd-shared-*.so")) // a constant pattern
		for _, f := range files {
			_, version, _ := strings.Cut(filepath.Base(f), "shared-")
			end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
			n, _ := strconv.Atoi(version[:end]) // ".so" follows in any case
			found = append(found, n)
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 1 {
		return found[0]
	}
	out, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"systemctl", "--version"}})
	if f := strings.Fields(string(out.Stdout)); err == nil && len(f) > 1 && f[0] == "systemd" {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

// firewall returns the active firewall that the steps can open, or else a service
// that loads the administrator's rules, which only the administrator can open.
func firewall(ctx context.Context, env *step.Env) string {
	if fw := step.ActiveFirewall(ctx, env); fw != "" {
		return fw
	}
	return strings.TrimSuffix(env.ActiveUnit(ctx, "iptables.service", "nftables.service"), ".service")
}

func manager(env *step.Env) string {
	for _, m := range []struct{ name, path string }{
		{step.ManagerApt, "/usr/bin/apt-get"}, {step.ManagerDnf, "/usr/bin/dnf"}, {step.ManagerYum, "/usr/bin/yum"},
	} {
		if _, err := os.Stat(env.Path(m.path)); err == nil {
			return m.name
		}
	}
	return ""
}

func addresses(env *step.Env) ([]Address, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []Address
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		list, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				out = append(out, Address{i.Name, p, i.MTU, reversePath(env, i.Name), i.HardwareAddr.String()})
			}
		}
	}
	return out, nil
}
