package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Cleanup does nothing until it is undone: then it ends all containers of
// Kubernetes, unmounts what they had mounted and takes away what kubelet,
// kube-proxy and the pod network left in the kernel and on the disk. It is the
// last step before the runtime is in use, hence the first that is undone while
// containerd still runs. What is not Kubernetes's own stays.
type Cleanup struct {
	Interfaces []string `json:"interfaces,omitempty"` // of the pod network
	Files      []string `json:"files,omitempty"`      // of the pod network, files or folders
	PodCIDR    string   `json:"podCIDR,omitempty"`
}

// Kind returns "kube-cleanup".
func (*Cleanup) Kind() string { return "kube-cleanup" }

// Describe says what reset will do.
func (*Cleanup) Describe() string { return "reset ends all pods and removes what they leave" }

// Validate refuses paths that are not clean, absolute and below a folder.
func (c *Cleanup) Validate() error {
	var errs []error
	for _, f := range c.Files {
		if !filepath.IsAbs(f) || filepath.Clean(f) != f || strings.Count(f, "/") < 2 {
			errs = append(errs, fmt.Errorf("file %q: want a clean absolute path", f))
		}
	}
	for _, i := range c.Interfaces {
		errs = append(errs, checkName("interface", i))
	}
	return errors.Join(errs...)
}

const cleanupStamp = "kube-cleanup"

// Check says whether the journal has this step.
func (c *Cleanup) Check(_ context.Context, env *step.Env) (step.Result, error) {
	if env.Stamp(cleanupStamp) != "" {
		return step.Result{State: step.OK}, nil
	}
	return step.Result{State: step.Differs, Reason: "not journaled yet"}, nil
}

// Apply gets the step into the journal, which is what Undo needs.
func (c *Cleanup) Apply(_ context.Context, env *step.Env) (step.Result, error) {
	if err := env.SetStamp(cleanupStamp, "1"); err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Changed, Prior: json.RawMessage(`{}`)}, nil
}

// Undo cleans up. It goes on after an error and reports all of them.
func (c *Cleanup) Undo(ctx context.Context, env *step.Env, _ json.RawMessage) error {
	errs := []error{
		endContainers(ctx, env),
		unmountAll(ctx, env),
		removeNetns(ctx, env),
		c.removeLinks(ctx, env),
		removeRules(ctx, env, c.PodCIDR),
		removeSlices(ctx, env),
	}
	for _, f := range c.Files {
		if err := os.RemoveAll(filepath.Join(env.Root, f)); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, env.SetStamp(cleanupStamp, ""))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after pods: %w", err)
	}
	return nil
}

// endContainers kills every task of Kubernetes and then the shims that are left,
// which also works when containerd is gone.
func endContainers(ctx context.Context, env *step.Env) error {
	if out, err := ctr(ctx, env, "tasks", "ls", "--quiet"); err == nil {
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
	return poll(ctx, 30*time.Second, 300*time.Millisecond, "end of all containers",
		func(context.Context) (bool, string, error) {
			pids, err := processes(env.Root)
			for _, p := range pids {
				_ = syscall.Kill(p, syscall.SIGKILL)
			}
			return len(pids) == 0 && err == nil, fmt.Sprintf("%d processes are left", len(pids)), err
		})
}

// processes finds the shims of the Kubernetes namespace and everything below
// them, leaves last, by /proc/pid/stat and cmdline.
func processes(root string) ([]int, error) {
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
		// The name stands in brackets and may hold anything; state and parent follow.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) < 2 || f[0] == "Z" {
			continue
		}
		if ppid, err := strconv.Atoi(f[1]); err == nil {
			children[ppid] = append(children[ppid], pid)
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		args := strings.Split(string(cmdline), "\x00")
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && slices.Contains(args, "k8s.io") {
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

// mountPrefixes are where pods have mounts.
var mountPrefixes = []string{"/run/containerd/", "/var/lib/kubelet/", "/var/lib/containerd/", "/run/netns/cni-", "/var/run/netns/cni-"}

func unmountAll(ctx context.Context, env *step.Env) error {
	b, err := os.ReadFile(filepath.Join(env.Root, "/proc/self/mountinfo"))
	if errors.Is(err, fs.ErrNotExist) && env.Root != "" {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range podMounts(string(b)) {
		if _, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"umount", m}}); err != nil {
			// Busy for good, for example by a hung network file system.
			if _, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"umount", "-l", m}}); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// podMounts returns the pods' mount points, deepest and latest first. A path
// with octal escapes, which no runtime makes, is left out.
func podMounts(mountinfo string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 || strings.Contains(f[4], `\`) {
			continue
		}
		for _, p := range mountPrefixes {
			if strings.HasPrefix(f[4], p) {
				out = append(out, f[4])
			}
		}
	}
	slices.Reverse(out)
	sort.SliceStable(out, func(i, j int) bool { return strings.Count(out[i], "/") > strings.Count(out[j], "/") })
	return out
}

func removeNetns(_ context.Context, env *step.Env) error {
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

// removeLinks deletes the network's interfaces and the pods' ends of veth pairs
// that outlived their bridge. It asks ip and not /sys, which shows the network
// namespace that it was mounted in.
func (c *Cleanup) removeLinks(ctx context.Context, env *step.Env) error {
	var errs []error
	for _, name := range append([]string{"kube-ipvs0"}, c.Interfaces...) {
		if _, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"ip", "link", "show", "dev", name}}); err != nil {
			continue // not there
		}
		out, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"ip", "-o", "link", "show", "master", name}})
		if err == nil {
			for _, port := range vethNames(string(out.Stdout)) {
				_, _ = env.Run.Run(ctx, step.Cmd{Argv: []string{"ip", "link", "delete", "dev", port}})
			}
		}
		if _, err := env.Run.Run(ctx, step.Cmd{Argv: []string{"ip", "link", "delete", "dev", name}}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// vethNames reads `ip -o link`: "7: veth1234@if2: <BROADCAST,…".
func vethNames(out string) []string {
	var names []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
		if strings.HasPrefix(name, "veth") {
			names = append(names, name)
		}
	}
	return names
}

// removeSlices stops the slices that the kubelet made for pods and removes their
// empty cgroups.
func removeSlices(ctx context.Context, env *step.Env) error {
	if _, err := os.Stat(filepath.Join(env.Root, "/run/systemd/system")); err == nil {
		_, _ = env.Run.Run(ctx, step.Cmd{Argv: []string{"systemctl", "stop", "kubepods.slice"}})
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

// removeCgroup removes a cgroup and those below it, deepest first. One that is
// busy stays; the next boot has none of them.
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
