package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/installer/step"
)

// Facts is what the agent found on a host before anything is changed.
type Facts struct {
	OS       OS     `json:"os"`
	Arch     string `json:"arch"` // as Go spells it, "amd64"
	Kernel   string `json:"kernel"`
	Hostname string `json:"hostname"`
	CPUs     int    `json:"cpus"`
	// MemoryBytes is all memory, SwapBytes the swap in use now.
	MemoryBytes int64  `json:"memoryBytes"`
	SwapBytes   int64  `json:"swapBytes"`
	Disks       []Disk `json:"disks"` // of "/", "/var/lib" and "/usr/local/bin"
	// NoFileTypes says that overlay mounts do not work below /var/lib/containerd.
	NoFileTypes bool `json:"noFileTypes,omitempty"`
	// Cgroups are the versions that have controllers, [2], [1] or [1 2].
	Cgroups  []int     `json:"cgroups"`
	SELinux  string    `json:"selinux"`  // "enforcing", "permissive" or "disabled"
	Firewall string    `json:"firewall"` // "firewalld", "ufw", "iptables", "nftables" or "" when none is active
	Systemd  int       `json:"systemd"`  // version; 0: not running under systemd
	Time     time.Time `json:"time"`     // the host's clock, UTC, nanoseconds

	Listening []Listener `json:"listening,omitempty"`
	Addresses []Address  `json:"addresses,omitempty"`
	// Manager is the package manager: "apt", "dnf", "yum" or "".
	Manager string `json:"manager,omitempty"`
	// State are paths that an earlier Kubernetes, etcd or runtime left, see StatePaths.
	State []string `json:"state,omitempty"`
	// Resolvers are the name servers that pods can reach too, none in many closed
	// networks; ResolvConf is the file that lists them, "" without any.
	Resolvers  []string `json:"resolvers,omitempty"`
	ResolvConf string   `json:"resolvConf,omitempty"`
	// Installed is what offk8s installed before; nil: nothing.
	Installed *Installed `json:"installed,omitempty"`
}

// OS is what os-release says.
type OS struct {
	ID      string   `json:"id"`
	Version string   `json:"version"` // VERSION_ID
	Like    []string `json:"like,omitempty"`
	Name    string   `json:"name,omitempty"` // PRETTY_NAME
}

// Major is the part of Version before the first dot.
func (o OS) Major() string {
	major, _, _ := strings.Cut(o.Version, ".")
	return major
}

// Disk is the file system that a path lies on.
type Disk struct {
	Path       string `json:"path"`
	FreeBytes  int64  `json:"freeBytes"` // for root
	TotalBytes int64  `json:"totalBytes"`
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
}

// Installed says which bundle and cluster the host's journal belongs to.
type Installed struct {
	Cluster  string `json:"cluster"`
	Host     string `json:"host"`
	Bundle   string `json:"bundle,omitempty"` // name
	Root     string `json:"root,omitempty"`   // digest of index.json
	Sequence int64  `json:"sequence,omitempty"`
}

// HasAddress reports whether a is one of the host's own.
func (f Facts) HasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(f.Addresses, func(x Address) bool { return x.Prefix.Addr() == a })
}

// ListensOn reports whether something listens on the port.
func (f Facts) ListensOn(protocol string, port int) bool {
	return slices.ContainsFunc(f.Listening, func(l Listener) bool {
		return l.Protocol == protocol && l.Port == port
	})
}

// StatePaths are what Facts.State looks for.
func StatePaths() []string {
	return []string{
		"/etc/kubernetes", "/etc/etcd", "/etc/cni/net.d",
		"/var/lib/etcd/member", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/docker", "/var/lib/rancher",
		"/run/containerd/containerd.sock", "/run/docker.sock", "/run/crio/crio.sock",
	}
}

// Collect reads the facts of the host. What a host does not have is left at
// its zero value; only what every Linux has is an error.
func Collect(ctx context.Context, env *step.Env) (Facts, error) {
	f := Facts{
		Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), SELinux: step.SELinuxMode(env),
		Firewall: firewall(ctx, env), Systemd: systemdVersion(ctx, env), Cgroups: cgroups(env),
		Manager: manager(env), NoFileTypes: lacksTypes(env),
	}
	var errs []error
	var err error
	f.OS, err = osRelease(env)
	errs = append(errs, err)
	f.Kernel, err = line(env, "/proc/sys/kernel/osrelease")
	errs = append(errs, err)
	f.Hostname, err = line(env, "/proc/sys/kernel/hostname")
	errs = append(errs, err)
	errs = append(errs, memory(env, &f))
	f.Disks, err = disks(env)
	errs = append(errs, err)
	f.Listening, err = listeners(env)
	errs = append(errs, err)
	f.Addresses, err = addresses()
	errs = append(errs, err)
	f.ResolvConf, f.Resolvers = resolvers(env)
	for _, p := range StatePaths() {
		if _, err := os.Lstat(env.Path(p)); err == nil {
			f.State = append(f.State, p)
		}
	}
	// Last, since the programs above take time.
	f.Time = time.Now().UTC()
	return f, errors.Join(errs...)
}

func line(env *step.Env, path string) (string, error) {
	b, err := env.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// osRelease reads os-release(5).
func osRelease(env *step.Env) (OS, error) {
	b, err := env.ReadFile("/etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		b, err = env.ReadFile("/usr/lib/os-release")
	}
	if err != nil {
		return OS{}, err
	}
	var o OS
	for l := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(l), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			o.ID = value
		case "VERSION_ID":
			o.Version = value
		case "ID_LIKE":
			o.Like = strings.Fields(value)
		case "PRETTY_NAME":
			o.Name = value
		}
	}
	return o, nil
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

func disks(env *step.Env) ([]Disk, error) {
	var out []Disk
	for _, p := range []string{"/", "/var/lib", "/usr/local/bin"} {
		var st unix.Statfs_t
		err := unix.Statfs(env.Path(p), &st)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("free space of %q: %w", p, err)
		}
		out = append(out, Disk{p, int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize})
	}
	return out, nil
}

// cgroups tells the versions that have controllers: a unified tree beside the
// version 1 ones has none of its own.
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

func systemdVersion(ctx context.Context, env *step.Env) int {
	out, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"systemctl", "--version"}})
	if f := strings.Fields(string(out.Stdout)); err == nil && len(f) > 1 && f[0] == "systemd" {
		n, _ := strconv.Atoi(f[1])
		if _, err := os.Stat(env.Path("/run/systemd/system")); err == nil {
			return n
		}
	}
	return 0
}

// firewall is the one that the steps open, or else a service that loads rules of
// the administrator's own, which nobody but him can open.
func firewall(ctx context.Context, env *step.Env) string {
	if fw := step.ActiveFirewall(ctx, env); fw != "" {
		return fw
	}
	for _, name := range []string{"iptables", "nftables"} {
		if _, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"systemctl", "is-active", "--quiet", name + ".service"}}); err == nil {
			return name
		}
	}
	return ""
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

func addresses() ([]Address, error) {
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
				out = append(out, Address{i.Name, p})
			}
		}
	}
	return out, nil
}
