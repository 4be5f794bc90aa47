package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// Cleanup changes nothing until it is undone: then it ends all containers of
// Kubernetes, unmounts their file systems and removes everything that kubelet,
// kube-proxy and the pod network left in the kernel and on disk. It is the last
// step before the runtime is in use, so Undo runs first and while the runtime still
// runs. Everything that does not belong to Kubernetes stays.
type Cleanup struct {
	// Of the pod network: its interfaces by name or prefix ("tun-*"), its files or
	// directories, the prefixes of its iptables chains ("FLANNEL-"), of the comments of
	// its rules ("flanneld"), and of its sets of ipset ("kube-router-").
	Interfaces   []string `json:"interfaces,omitempty"`
	Files        []string `json:"files,omitempty"`
	Chains       []string `json:"chains,omitempty"`
	RuleComments []string `json:"ruleComments,omitempty"`
	IPSets       []string `json:"ipsets,omitempty"`
	// Docker ends the containers of docker instead of those of containerd.
	Docker bool `json:"docker,omitempty"`
	// PodCIDR selects further rules, by source or destination, and routes; two ranges have
	// a comma between them.
	PodCIDR string `json:"podCIDR,omitempty"`
	// ServiceCIDR, as PodCIDR, and NodePorts, "30000-32767", select the virtual servers of
	// IPVS, if the proxy of services uses it.
	ServiceCIDR string `json:"serviceCIDR,omitempty"`
	NodePorts   string `json:"nodePorts,omitempty"`
}

func (*Cleanup) Kind() string { return "kube-cleanup" }

func (*Cleanup) Describe() string { return "reset ends all pods and removes what they leave" }

// Validate refuses paths that are not clean, absolute and below a directory of the root.
func (c *Cleanup) Validate() error {
	var errs []error
	for _, f := range c.Files {
		if !filepath.IsAbs(f) || filepath.Clean(f) != f || strings.Count(f, "/") < 2 {
			errs = append(errs, fmt.Errorf("file %q: want a clean absolute path", f))
		}
	}
	for _, i := range c.Interfaces {
		errs = append(errs, CheckName("interface", strings.TrimSuffix(i, "*")))
	}
	for _, p := range slices.Concat(c.Chains, c.RuleComments, c.IPSets) {
		errs = append(errs, CheckName("iptables or ipset prefix", p))
	}
	for _, n := range slices.Concat(ranges(c.PodCIDR), ranges(c.ServiceCIDR)) {
		_, err := parseNet(n)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ranges returns the parts of a list with commas, none of an empty one.
func ranges(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

const cleanupStamp = "kube-cleanup"

// stamp identifies the step's fields, so that a network with other leftovers gets
// into the journal.
func (c *Cleanup) stamp() string { return digest.FromBytes(priorJSON(c)).Encoded()[:24] }

// Check reports whether the journal has this step.
func (c *Cleanup) Check(_ context.Context, env *Env) (Result, error) {
	if env.Stamp(cleanupStamp) == c.stamp() {
		return Result{State: OK}, nil
	}
	return Result{State: Differs, Reason: "not journaled yet"}, nil
}

// Apply only gets the step into the journal, for Undo.
func (c *Cleanup) Apply(_ context.Context, env *Env) (Result, error) {
	if err := env.SetStamp(cleanupStamp, c.stamp()); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Prior: json.RawMessage(`{}`)}, nil
}

func (c *Cleanup) Undo(ctx context.Context, env *Env, _ json.RawMessage) error {
	return errors.Join(c.remove(ctx, env), env.SetStamp(cleanupStamp, ""))
}

// remove continues after an error and reports all of them.
func (c *Cleanup) remove(ctx context.Context, env *Env) error {
	errs := []error{
		c.endContainers(ctx, env),
		c.unmountAll(ctx, env),
		removeNetns(ctx, env),
		c.removeLinks(ctx, env),
		c.removeRoutes(ctx, env),
		c.removeVirtualServers(ctx, env),
		c.removeRules(ctx, env),
		c.removeSets(ctx, env),
		removeSlices(ctx, env),
	}
	for _, f := range c.Files {
		if err := os.RemoveAll(filepath.Join(env.Root, f)); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after pods: %w", err)
	}
	return nil
}

// endContainers kills every task of Kubernetes and then the remaining shims, which
// also works if containerd is gone.
func (c *Cleanup) endContainers(ctx context.Context, env *Env) error {
	namespace := "k8s.io"
	if c.Docker {
		namespace = "moby"
		removeDockerContainers(ctx, env)
	} else if out, err := ctr(ctx, env, "tasks", "ls", "--quiet"); err == nil {
		for _, id := range strings.Fields(string(out)) {
			_, _ = ctr(ctx, env, "tasks", "kill", "--signal", "SIGKILL", "--all", id)
			_, _ = ctr(ctx, env, "tasks", "rm", "--force", id)
		}
		out, err = ctr(ctx, env, "containers", "ls", "--quiet")
		if err == nil {
			for _, id := range strings.Fields(string(out)) {
				_, _ = ctr(ctx, env, "containers", "rm", id)
			}
		}
	}
	return Poll(ctx, env, 30*time.Second, 300*time.Millisecond, "end of all containers",
		func(context.Context) (string, error) {
			pids, err := processes(env.Root, namespace)
			if err != nil || len(pids) == 0 {
				return "", err
			}
			for _, p := range pids {
				_ = syscall.Kill(p, syscall.SIGKILL)
			}
			return fmt.Sprintf("%d processes are left", len(pids)), nil
		})
}

// removeDockerContainers ends all containers of docker, which runs those of Kubernetes only.
func removeDockerContainers(ctx context.Context, env *Env) {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{dockerCLI, "ps", "--all", "--quiet", "--no-trunc"}})
	if ids := strings.Fields(string(out.Stdout)); err == nil && len(ids) > 0 {
		argv := append([]string{dockerCLI, "rm", "--force", "--volumes"}, ids...)
		_, _ = env.Run.Run(ctx, Cmd{Argv: argv, Timeout: slowTimeout})
	}
}

// processes returns the shims of a namespace of containerd and their descendants,
// parents first, from /proc/pid/stat and cmdline.
func processes(root, namespace string) ([]int, error) {
	stats, err := filepath.Glob(filepath.Join(root, "/proc/[0-9]*/stat"))
	if err != nil {
		return nil, err
	}
	children, shims := map[int][]int{}, []int(nil)
	for _, s := range stats {
		dir := filepath.Dir(s)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		b, err := os.ReadFile(s)
		if err != nil {
			continue // it ended meanwhile
		}
		// The name is in parentheses and may contain any byte; state and parent follow.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) < 2 || f[0] == "Z" {
			continue
		}
		if ppid, err := strconv.Atoi(f[1]); err == nil {
			children[ppid] = append(children[ppid], pid)
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		args := strings.Split(string(cmdline), "\x00")
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && slices.Contains(args, namespace) {
			shims = append(shims, pid)
		}
	}
	var out []int
	for queue := shims; len(queue) > 0; queue = queue[1:] {
		if !slices.Contains(out, queue[0]) {
			out = append(out, queue[0])
			queue = append(queue, children[queue[0]]...)
		}
	}
	return out, nil
}

// mountPrefixes are the prefixes of the mount points of pods.
var mountPrefixes = []string{"/run/containerd/", "/var/lib/kubelet/", "/var/lib/containerd/", "/run/netns/cni-", "/var/run/netns/cni-"}

// dockerMounts are those of docker's containers.
var dockerMounts = []string{"/var/lib/docker/", "/run/docker/", "/var/run/docker/"}

func (c *Cleanup) unmountAll(ctx context.Context, env *Env) error {
	prefixes := mountPrefixes
	if c.Docker {
		prefixes = slices.Concat(mountPrefixes, dockerMounts)
	}
	b, err := os.ReadFile(filepath.Join(env.Root, "/proc/self/mountinfo"))
	if errors.Is(err, fs.ErrNotExist) && env.Root != "" {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range podMounts(string(b), prefixes) {
		if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"umount", m}}); err != nil {
			// Busy for good, for example by a hung network file system.
			if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"umount", "-l", m}}); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// podMounts returns the pods' mount points, deepest and latest first. It ignores
// paths with octal escapes, which no runtime creates.
func podMounts(mountinfo string, prefixes []string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 || strings.Contains(f[4], `\`) {
			continue
		}
		for _, p := range prefixes {
			if strings.HasPrefix(f[4], p) {
				out = append(out, f[4])
			}
		}
	}
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	return out
}

func removeNetns(_ context.Context, env *Env) error {
	names, err := filepath.Glob(filepath.Join(env.Root, "/run/netns/cni-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		errs = append(errs, os.Remove(n))
	}
	return errors.Join(errs...)
}

// removeSlices stops the slices that the kubelet created for pods and removes
// their empty cgroups.
func removeSlices(ctx context.Context, env *Env) error {
	if _, err := os.Stat(filepath.Join(env.Root, "/run/systemd/system")); err == nil {
		_, _ = env.Run.Run(ctx, Cmd{Argv: []string{"systemctl", "stop", "kubepods.slice"}})
	}
	for _, pattern := range []string{"/sys/fs/cgroup/kubepods*", "/sys/fs/cgroup/*/kubepods*"} {
		tops, err := filepath.Glob(filepath.Join(env.Root, pattern))
		if err != nil {
			return err
		}
		for _, top := range tops {
			removeCgroup(top)
		}
	}
	return nil
}

// removeCgroup removes a cgroup and its descendants, deepest first. A busy cgroup
// stays until the next boot.
func removeCgroup(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	_ = syscall.Rmdir(dir)
}
