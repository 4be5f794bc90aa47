//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func (r *road) dryRun(t *testing.T) {
	r.writeCluster(t)
	out := r.operator(t, 5*time.Minute, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--dry-run")
	want := append(strings.Fields(names(r.hosts)), "etcd", "kubelet")
	if r.vip != "" {
		want = append(want, "haproxy", "keepalived")
	}
	for _, want := range want {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not mention %q", want)
		}
	}
	for _, h := range r.hosts {
		run(t, time.Minute, r.ssh(h.addr, "test", "!", "-e", "/etc/kubernetes")...)
	}
}

// refused: the preflight checks name what the hosts lack, and no host is changed.
func (r *road) refused(t *testing.T) {
	r.writeCluster(t)
	for _, more := range [][]string{{"--dry-run"}, nil} {
		argv := in("operator", append([]string{r.bin, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state()}, more...)...)
		var stderr strings.Builder
		out, err := tryTo(t, 5*time.Minute, io.MultiWriter(os.Stderr, &stderr), argv...)
		if code := exitCode(err); code != 6 || !strings.Contains(stderr.String(), r.plan.refused) {
			t.Errorf("install %v: exit %d, want 6 and %q: %v\n%s", more, code, r.plan.refused, err, out)
		}
	}
	for _, h := range r.hosts {
		run(t, time.Minute, r.ssh(h.addr, unchanged)...)
	}
}

// unchanged succeeds on a host that no install has changed.
const unchanged = "test ! -e /etc/kubernetes && test ! -e /etc/offk8s && test ! -e /usr/local/bin/offk8s && ! command -v chronyd"

// killedInstall kills the operator's process in the middle of the control plane
// stage; the install after it must find its way from there.
func (r *road) killedInstall(t *testing.T) {
	_ = r.atControlPlane(t, func(install *exec.Cmd) { must(t, install.Process.Kill()) }) // it was killed
}

// atControlPlane runs install, and calls f once, when it has changed a control plane.
func (r *road) atControlPlane(t *testing.T, f func(install *exec.Cmd)) error {
	t.Helper()
	argv := in("operator", r.bin, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--progress", "plain")
	cmd := exec.Command(argv[0], argv[1:]...)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	limit := time.AfterFunc(15*time.Minute, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	reached := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		fmt.Fprintln(os.Stderr, lines.Text())
		fmt.Fprintln(&r.watch, lines.Text())
		if !reached && strings.Contains(lines.Text(), "changed") && strings.Contains(lines.Text(), "controlplane/") {
			reached = true
			f(cmd)
		}
	}
	err = cmd.Wait()
	if !reached {
		t.Fatalf("install never came to the control plane: %v", err)
	}
	return err
}

// free waits until no agent works on a host.
func (r *road) free(t *testing.T) {
	t.Helper()
	// The agents notice that nobody listens any more and give their hosts free.
	eventually(t, 5*time.Minute, "hosts are free again", func() error {
		for _, h := range r.hosts {
			// In brackets, so that the shell that runs pgrep is not found.
			out, err := try(t, 20*time.Second, r.ssh(h.addr, `pgrep -f '[o]ffk8s agent' || true`)...)
			if err == nil && strings.TrimSpace(out) != "" {
				err = fmt.Errorf("an agent works on: %s", out)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", h.name, err)
			}
		}
		return nil
	})
}

func (r *road) install(t *testing.T) {
	r.free(t)
	r.operator(t, installLimit, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--progress", "plain")
}

// tickets installs without SSH: each host gets the program and its ticket on a stick and
// installs itself, at the same time as the others.
func (r *road) tickets(t *testing.T) {
	pass, dir := filepath.Join(r.work, "ticket-passphrase"), filepath.Join(r.work, "tickets")
	must(t, os.WriteFile(pass, []byte("battery staple\n"), 0o600))
	r.operator(t, time.Minute, "ticket", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--passphrase-file", pass, "-o", dir)
	var wait sync.WaitGroup
	for _, h := range r.hosts {
		stick := filepath.Join(r.dir, h.name, "root", "root")
		run(t, time.Minute, "cp", r.bin, filepath.Join(dir, h.name+".ticket"), pass, stick)
		wait.Go(func() {
			out, err := try(t, installLimit, r.script, "in", h.name, "/root/offk8s", "install", "--local", "--ticket", "/root/"+h.name+".ticket",
				"--passphrase-file", "/root/ticket-passphrase", "--progress", "plain")
			_, _ = r.watch.Write([]byte(out))
			if err != nil {
				t.Errorf("%s: %v\n%s", h.name, err, out)
			}
		})
	}
	wait.Wait()
	for _, h := range r.hosts {
		r.sh(t, "in", h.name, "sh", "-c", "rm -f /root/*.ticket /root/ticket-passphrase /root/offk8s")
	}
	must(t, os.WriteFile(r.kubeconfig(), []byte(run(t, time.Minute, r.bin, "kubeconfig", "-f", r.clusterFile(), "--state", r.state())), 0o600))
}

func (r *road) secondRun(t *testing.T) {
	start := time.Now()
	out := r.operator(t, 10*time.Minute, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--format", "json")
	var report struct {
		Changed int `json:"changed"`
		Failed  int `json:"failed"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("report: %v\n%s", err, out)
	}
	if report.Changed != 0 || report.Failed != 0 {
		t.Fatalf("changed: %d, failed: %d, want 0 and 0:\n%s", report.Changed, report.Failed, out)
	}
	t.Logf("second run: %s", time.Since(start).Round(time.Millisecond))
	out = r.operator(t, 5*time.Minute, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--format", "json", "--dry-run")
	var dry struct {
		Pending int `json:"pending"`
	}
	if err := json.Unmarshal([]byte(out), &dry); err != nil || dry.Pending != 0 {
		t.Errorf("dry run: %d pending, want 0 (error %v):\n%s", dry.Pending, err, out)
	}
}

// otherMachine: without the state of the cluster, install is refused on every host
// before anything is made, and a dry run too.
func (r *road) otherMachine(t *testing.T) {
	state := filepath.Join(r.work, "other-state")
	for _, more := range [][]string{{"--dry-run"}, nil} {
		argv := in("operator", append([]string{r.bin, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", state}, more...)...)
		out, err := try(t, 5*time.Minute, argv...)
		if code := exitCode(err); code != 5 {
			t.Errorf("install %v with another state: exit %d, want 5: %v\n%s", more, code, err, out)
		}
		if made, _ := filepath.Glob(filepath.Join(state, "*.crt")); len(made) > 0 {
			t.Errorf("install %v with another state made %v", more, made)
		}
	}
	r.bringState(t)
	config := filepath.Join(r.work, "admin.kubeconfig")
	must(t, os.WriteFile(config, []byte(run(t, time.Minute, r.bin, "kubeconfig", "-f", r.clusterFile(), "--state", r.state())), 0o600))
	for _, file := range []string{config, r.kubeconfig()} {
		if out := run(t, time.Minute, in("operator", r.kubectlFile, "--kubeconfig", file, "get", "nodes", "-o", "name")...); !strings.Contains(out, r.nodes()[0].name) {
			t.Errorf("%s reaches no cluster: %s", file, out)
		}
	}
}

// bringState: with the state of the first machine, from a file or from the sealed copy on a
// control plane, install on another machine changes nothing.
func (r *road) bringState(t *testing.T) {
	pass, file := filepath.Join(r.work, "state-passphrase"), filepath.Join(r.work, "lab.state")
	must(t, os.WriteFile(pass, []byte("correct horse\n"), 0o600))
	if o := r.again(t, "--state-passphrase-file", pass); o.code != 0 || o.report.Changed != len(r.with(controlPlane)) {
		t.Fatalf("install with a sealed copy: exit %d, changed %d, want 0 and a copy on each control plane:\n%s", o.code, o.report.Changed, o.output)
	}
	for _, h := range r.with(controlPlane) {
		if mode := strings.TrimSpace(run(t, time.Minute, r.ssh(h.addr, "stat", "-c", "%a-%U", "/etc/kubernetes/offk8s-state.sealed")...)); mode != "600-root" {
			t.Errorf("the copy on %s is %s", h.name, mode)
		}
	}
	r.operator(t, time.Minute, "state", "export", "-f", r.clusterFile(), "--state", r.state(), "-o", file, "--passphrase-file", pass)
	cps := r.with(controlPlane)
	for name, argv := range map[string][]string{"file": {file}, "copy": {"--from", cps[len(cps)-1].name, "-f", r.clusterFile()}} {
		state := filepath.Join(r.work, "state-from-"+name)
		r.operator(t, time.Minute, append([]string{"state", "import", "--state", state, "--passphrase-file", pass}, argv...)...)
		if o := r.again(t, "--state", state); o.code != 0 || o.report.Changed != 0 {
			t.Errorf("install with the state from the %s: exit %d, changed %d, want 0 and 0:\n%s", name, o.code, o.report.Changed, o.output)
		}
	}
}

// reset leaves no unit, process, mount or file of ours; OS packages stay and are named.
func (r *road) reset(t *testing.T) {
	out := r.operator(t, 10*time.Minute, "reset", "-f", r.clusterFile(), "--state", r.state(), "--yes")
	if !strings.Contains(out, "chrony") {
		t.Errorf("reset does not name the packages that stay:\n%s", out)
	}
	const look = `
systemctl list-units --all --no-legend --plain 'kube*' 'etcd*' 'containerd*' 'docker*' 'offk8s*' | awk '{print "unit " $1}'
ls /etc/systemd/system/ | grep -E '^(kube|etcd|containerd|docker|offk8s)' | sed 's/^/unit file /'
ps -eo comm= | grep -E '^(kube|etcd|containerd|docker|runc|flanneld|coredns|pause|offk8s)' | sed 's/^/process /'
awk '$2 ~ "^/(run/containerd|run/docker|var/lib/docker/|var/lib/kubelet/|run/netns|var/lib/containerd/|run/k3s|opt/cni|etc/kubernetes)" {print "mount " $2}' /proc/mounts
ls -d /etc/kubernetes /etc/etcd /etc/containerd /etc/docker /run/docker /var/lib/dockershim /etc/offk8s /etc/cni /opt/cni /opt/offk8s /var/lib/offk8s /usr/local/bin/* /usr/local/bin/.offk8s /run/flannel 2>/dev/null | sed 's/^/file /'
for d in /var/lib/etcd /var/lib/kubelet /var/lib/containerd /var/lib/docker; do find $d -mindepth 1 -maxdepth 1 2>/dev/null | head -3 | sed 's/^/file /'; done
ss -Hltn 'sport = :6443 or sport = :6444 or sport = :6445 or sport = :8443' | sed 's/^/listener /'
ip -o addr show to VIP/32 2>/dev/null | sed 's/^/address /'
ip route | grep -E '^(10\.96\.|10\.244\.|unreachable)' | sed 's/^/route /'
ip -o link | grep -oE '(cni0|flannel[^:@ ]*|docker0|kube-bridge|kube-[a-z]+-if|veth[0-9a-f]+)' | sed 's/^/link /'
nft list tables 2>/dev/null | grep kube-proxy | sed 's/^/nftables /'
ipset list -n 2>/dev/null | head -3 | sed 's/^/ipset /'
iptables-save 2>/dev/null | grep -oE '^:(KUBE|FLANNEL|CNI)[A-Z0-9-]*' | head -3 | sed 's/^/iptables chain /'
grep -n offk8s /etc/hosts /etc/fstab | sed 's/^/line /'
true`
	for _, h := range r.hosts {
		argv := r.ssh(h.addr, "sh")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(look, "VIP", cmp.Or(r.vip, "192.0.2.1")))
		got, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", h.name, err, got)
		}
		if len(strings.TrimSpace(string(got))) > 0 {
			t.Errorf("%s: reset left behind:\n%s", h.name, got)
		}
		run(t, time.Minute, r.ssh(h.addr, "command", "-v", "chronyd")...)
	}
}
