//go:build e2e

// Package e2e is the whole road on real hosts: pack from real layouts, verify,
// serve, install, a running cluster, a second run, reset. `make e2e` runs it.
package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/test/e2e/upstream"
)

// road is one version's way through the lab.
type road struct {
	*lab
	minor, version string
	rpm            string   // the RPM-family distro of this run
	binaries       []string // component directories, in order of preference
	criPlugin      string   // section of containerd's config that takes restrict_oom_score_adj
	failCgroupV1   bool     // the kubelet refuses cgroup v1 unless told
	odd, way       string   // the host whose default route is another (lab.sh), and which

	extra string // more lines of cluster.yaml
	gone  string // a host that is left out of it; with it, workers are no members of etcd

	work, bundle string
	fingerprint  string // of the mirror's CA
	watch        watcher
	mirror       *exec.Cmd // offk8s serve
}

type host struct{ name, addr, roles, os, way string }

func (r *road) hosts() []host {
	hosts := []host{
		{"cp-1", "10.66.0.11", "control-plane, etcd", "debian-12", "host0"},
		{"node-1", "10.66.0.12", "etcd, worker", r.rpm, "host0"},
		{"node-2", "10.66.0.13", "etcd, worker", "debian-12", "host0"},
	}
	for i := range hosts {
		if hosts[i].name == r.odd {
			hosts[i].way = r.way
		}
	}
	return hosts
}

const mirrorAddr = "10.66.0.3:8443"

func TestRoad(t *testing.T) {
	l := newLab(t)
	roads := []*road{
		{
			lab: l, minor: "1.36", version: "1.36.3", rpm: "rocky-9", failCgroupV1: true, odd: "node-1", way: "none",
			binaries:  []string{"kubernetes-1.36.3", "etcd-3.6.16", "containerd-2.2.7", "cni-plugins-1.9.1", "coredns-1.14.2"},
			criPlugin: "io.containerd.cri.v1.runtime",
		},
		{
			lab: l, minor: "1.16", version: "1.16.15", rpm: "centos-7", odd: "node-2", way: "host1",
			binaries:  []string{"kubernetes-1.16.15", "etcd-3.4.23", "containerd-1.6.20", "cni-plugins-1.9.1", "coredns-1.8.7"},
			criPlugin: "io.containerd.grpc.v1.cri",
		},
	}
	for _, r := range roads {
		if only := os.Getenv("E2E_VERSION"); only != "" && only != r.minor {
			continue
		}
		if !t.Run(r.version, r.travel) {
			return // the second would fail the same way; its noise hides the first
		}
	}
}

// travel is the road; each part needs the one before it.
func (r *road) travel(t *testing.T) {
	r.work = filepath.Join(r.dir, "road-"+r.minor)
	if err := os.RemoveAll(r.work); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(r.work, 0o755); err != nil {
		t.Fatal(err)
	}
	parts := []struct {
		name string
		run  func(*testing.T)
	}{
		{"pack", r.pack},
		{"hosts", r.bootHosts},
		{"verify", r.verify},
		{"serve", r.serve},
		{"clients", r.clients},
		{"dry run", r.dryRun},
		{"cut transaction", r.cutTransaction},
		{"killed install", r.killedInstall},
		{"install", r.install},
		{"cluster", r.cluster},
		{"network", r.network},
		{"time", r.time},
		{"etcd", r.etcd},
		{"second run", r.secondRun},
		{"join again", long(r.joinAgain)},
		{"certificates", long(r.certificates)},
		{"other machine", r.otherMachine},
		{"other version", r.otherVersion},
		{"argument", r.secondDay(r.argument)},
		{"bad argument", long(r.badArgument)},
		{"away", r.secondDay(r.away)},
		{"replaced", long(r.replaced)},
		{"leaves", r.secondDay(r.leaves)},
		{"secrets", r.secrets},
		{"reset", r.reset},
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("E2E_KEEP") != "" {
			return
		}
		r.stop()
		for _, h := range append(r.hosts(), host{name: "dmz"}, host{name: "operator"}) {
			_, _ = try(t, time.Minute, r.script, "down", h.name)
		}
	})
	for _, p := range parts {
		start := time.Now()
		if !t.Run(p.name, p.run) {
			return
		}
		t.Logf("%s: %s", p.name, time.Since(start).Round(100*time.Millisecond))
	}
}

// pack runs the real command against the stand-in and the machine's own
// Debian mirror, then once more from the Lock: the bytes must be the same.
func (r *road) pack(t *testing.T) {
	cat, err := catalog.Embedded()
	must(t, err)
	release, err := cat.Release(r.minor)
	must(t, err)
	cni, err := cat.CNI(release.Defaults.CNI)
	must(t, err)
	cniRelease, err := cni.For(r.minor)
	must(t, err)
	distro, err := cat.Distro(r.rpm)
	must(t, err)
	var dirs []string
	for _, d := range append(r.binaries, "cfssl-1.6.5", "runc-1.1.5", "flannel-0.15.1", "flannel-cni-0.8.7", "images", "crictl") {
		dirs = append(dirs, filepath.Join(r.cache, "components", d))
	}
	up, err := upstream.Start(upstream.Config{
		Release: release, CNI: cniRelease, Binaries: dirs, Distros: []catalog.Distro{distro},
		RPMs: filepath.Join(r.cache, "rpms"), FlannelRoot: filepath.Join(r.cache, "components", "flannel-root"),
		Work: filepath.Join(r.work, "upstream"),
	})
	must(t, err)
	defer up.Close()

	r.offk8s(t, time.Minute, "keys", "generate", "-o", filepath.Join(r.work, "offk8s.key"), "--no-passphrase")
	packed := filepath.Join(r.work, "b.tar")
	args := []string{
		"pack", "--version", r.minor, "--arch", "amd64", "--os", r.rpm + ",debian-12",
		"--key", filepath.Join(r.work, "offk8s.key"), "--catalog", up.Catalog,
		"--cache-dir", filepath.Join(r.dir, "cache"), "-o", packed, "--progress", "plain",
	}
	for _, m := range up.Rewrites() {
		args = append(args, "--rewrite", m)
	}
	r.offk8s(t, 20*time.Minute, args...)

	again := filepath.Join(r.work, "again.tar")
	args = append(args, "--lock", packed+".lock.json")
	args[len(args)-3-2*len(up.Rewrites())-2] = again
	r.offk8s(t, 10*time.Minute, replace(args, packed, again)...)
	run(t, time.Minute, "cmp", packed, again)
	must(t, os.Remove(again))

	// The stick: the tarball and the public key, nothing else, reach the DMZ.
	r.bundle = filepath.Join(r.work, "dmz", "b.tar")
	must(t, os.MkdirAll(filepath.Dir(r.bundle), 0o755))
	run(t, time.Minute, "cp", "--reflink=auto", packed, filepath.Join(r.work, "offk8s.pub"), filepath.Dir(r.bundle))
}

func replace(args []string, from, to string) []string {
	out := append([]string(nil), args...)
	for i, a := range out {
		if a == from {
			out[i] = to
		}
	}
	return out
}

func (r *road) bootHosts(t *testing.T) {
	r.sh(t, "netns", "operator", "10.66.0.4/24")
	r.sh(t, "netns", "dmz", "10.66.0.3/24")
	for _, h := range r.hosts() {
		r.sh(t, "up", h.name, h.addr+"/24", h.os, h.way)
	}
}

// verify checks the bundle with offk8s, and its head with nothing but tar and openssl.
func (r *road) verify(t *testing.T) {
	r.offk8s(t, 5*time.Minute, "verify", "--key", r.pub(), r.bundle)
	dir := t.TempDir()
	run(t, time.Minute, "tar", "-xf", r.bundle, "-C", dir, "index.json", "index.json.sig")
	run(t, time.Minute, "openssl", "dgst", "-sha256", "-verify", r.pub(),
		"-signature", filepath.Join(dir, "index.json.sig"), filepath.Join(dir, "index.json"))
	run(t, time.Minute, "skopeo", "copy", "--quiet", "oci-archive:"+r.bundle+":"+r.pause(t), "dir:"+filepath.Join(dir, "pause"))
}

func (r *road) pub() string { return filepath.Join(r.work, "dmz", "offk8s.pub") }

// serve starts the mirror in the DMZ's namespace and reads the fingerprint it prints.
func (r *road) serve(t *testing.T) {
	log, err := os.Create(filepath.Join(r.work, "serve.log"))
	must(t, err)
	argv := in("dmz", r.bin, "serve", "--key", r.pub(), "--listen", mirrorAddr,
		"--state", filepath.Join(r.work, "dmz", "state"), r.bundle)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	r.mirror = cmd
	lines := bufio.NewScanner(stdout)
	print := regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	found := make(chan string, 1)
	go func() {
		for lines.Scan() {
			fmt.Fprintln(log, lines.Text())
			if strings.Contains(strings.ToLower(lines.Text()), "fingerprint") {
				select {
				case found <- print.FindString(lines.Text()):
				default:
				}
			}
		}
	}()
	select {
	case r.fingerprint = <-found:
	case <-time.After(30 * time.Second):
		b, _ := os.ReadFile(log.Name())
		t.Fatalf("serve printed no fingerprint:\n%s", b)
	}
	eventually(t, 30*time.Second, "the mirror answers", func() error {
		_, err := try(t, 10*time.Second, in("operator", "curl", "-fsSk", "https://"+mirrorAddr+"/healthz")...)
		return err
	})
}

// stop ends the mirror.
func (r *road) stop() {
	if r.mirror == nil {
		return
	}
	_ = r.mirror.Process.Signal(syscall.SIGTERM)
	_ = r.mirror.Wait() // its exit does not matter any more
	r.mirror = nil
}

func (r *road) dryRun(t *testing.T) {
	r.writeCluster(t)
	out := r.operator(t, 5*time.Minute, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--dry-run")
	for _, want := range []string{"cp-1", "node-1", "node-2", "etcd", "kubelet"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not mention %q", want)
		}
	}
	for _, h := range r.hosts() {
		run(t, time.Minute, r.ssh(h.addr, "test", "!", "-e", "/etc/kubernetes")...)
	}
}

// killedInstall kills the operator's process in the middle of the control plane
// stage; the install after it must find its way from there.
func (r *road) killedInstall(t *testing.T) {
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
		if strings.Contains(lines.Text(), "changed") && strings.Contains(lines.Text(), "controlplane/") {
			reached = true
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // it was killed
	if !reached {
		t.Fatal("install never came to the control plane")
	}
}

// free waits until no agent works on a host.
func (r *road) free(t *testing.T) {
	t.Helper()
	// The agents notice that nobody listens any more and give their hosts free.
	eventually(t, time.Minute, "hosts are free again", func() error {
		for _, h := range r.hosts() {
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
	r.operator(t, 20*time.Minute, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--progress", "plain")
}

// cluster looks at the cluster with its own kubectl; smoke has run inside install.
func (r *road) cluster(t *testing.T) {
	out := r.kubectl(t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.kubeletVersion}{"\n"}{end}`)
	for _, h := range r.hosts() {
		if !strings.Contains(out, h.name+" True v"+r.version) {
			t.Errorf("node %s is not Ready at v%s:\n%s", h.name, r.version, out)
		}
	}
	if out := r.kubectl(t, "get", "secrets", "-n", "kube-system", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name"); out != "" {
		t.Errorf("bootstrap tokens are left: %s", out)
	}
	if out := r.kubectl(t, "get", "namespaces", "-o", "name"); strings.Contains(out, "smoke") {
		t.Errorf("smoke left a namespace:\n%s", out)
	}
}

// network: every host has its tunnel on the interface with its address, and reaches
// services, the host without a default route too, after a network restart and a kubelet's.
// That pods of every node reach services and DNS is a part of smoke.
func (r *road) network(t *testing.T) {
	const service = "10.96.0.0/16"
	for _, h := range r.hosts() {
		if got := r.kubectl(t, "get", "node", h.name, "-o", `jsonpath={.metadata.annotations.flannel\.alpha\.coreos\.com/public-ip}`); got != h.addr {
			t.Errorf("%s: flannel's address is %q, want %s", h.name, got, h.addr)
		}
		if got := run(t, time.Minute, r.ssh(h.addr, "ip", "-d", "link", "show", "flannel.1")...); !strings.Contains(got, "local "+h.addr+" dev host0") {
			t.Errorf("%s: VXLAN is on another interface:\n%s", h.name, got)
		}
		route := run(t, time.Minute, r.ssh(h.addr, "ip", "route", "show", service)...)
		if (route != "") != (h.way == "none") || route != "" && !strings.Contains(route, "dev host0") {
			t.Errorf("%s: route to services %q", h.name, route)
		}
		if h.way == "none" {
			run(t, time.Minute, r.ssh(h.addr, "ip route del "+service+" && systemctl restart kubelet")...)
		}
		eventually(t, time.Minute, h.name+" reaches services", func() error {
			_, err := try(t, 20*time.Second, r.ssh(h.addr, "curl", "-sk", "--max-time", "10", "-o", "/dev/null", "https://10.96.0.1/")...)
			return err
		})
	}
}

// time: the control plane is the source of every other host.
func (r *road) time(t *testing.T) {
	for _, h := range r.hosts()[1:] {
		eventually(t, time.Minute, "chrony source on "+h.name, func() error {
			out, err := try(t, 20*time.Second, r.ssh(h.addr, "chronyc", "-n", "sources")...)
			if err == nil && !regexp.MustCompile(`(?m)^\^[*+] 10\.66\.0\.11\b`).MatchString(out) {
				err = fmt.Errorf("10.66.0.11 is not the source:\n%s", out)
			}
			return err
		})
	}
}

// etcd has three healthy members over TLS.
func (r *road) etcd(t *testing.T) {
	out := run(t, time.Minute, r.ssh("10.66.0.11", "env", "ETCDCTL_API=3", "etcdctl",
		"--endpoints=https://10.66.0.11:2379,https://10.66.0.12:2379,https://10.66.0.13:2379",
		"--cacert=/etc/etcd/pki/ca.crt", "--cert=/etc/etcd/pki/client.crt", "--key=/etc/etcd/pki/client.key",
		"endpoint", "health", "2>&1")...) // 3.4 answers on stderr
	if n := strings.Count(out, "is healthy"); n != 3 {
		t.Errorf("%d healthy members, want 3:\n%s", n, out)
	}
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
	for _, file := range []string{config, filepath.Join(r.state(), "admin.kubeconfig")} {
		kubectl := filepath.Join(r.cache, "components", r.binaries[0], "kubectl")
		if out := run(t, time.Minute, in("operator", kubectl, "--kubeconfig", file, "get", "nodes", "-o", "name")...); !strings.Contains(out, "cp-1") {
			t.Errorf("%s reaches no cluster: %s", file, out)
		}
	}
}

// bringState: with the state of the first machine, from a file or from the sealed copy on a
// control plane, install on another machine changes nothing.
func (r *road) bringState(t *testing.T) {
	pass, file := filepath.Join(r.work, "state-passphrase"), filepath.Join(r.work, "lab.state")
	must(t, os.WriteFile(pass, []byte("correct horse\n"), 0o600))
	if o := r.again(t, "--state-passphrase-file", pass); o.code != 0 || o.report.Changed != 1 {
		t.Fatalf("install with a sealed copy: exit %d, changed %d, want 0 and 1 (the copy on cp-1):\n%s", o.code, o.report.Changed, o.output)
	}
	if mode := strings.TrimSpace(run(t, time.Minute, r.ssh("10.66.0.11", "stat", "-c", "%a-%U", "/etc/kubernetes/offk8s-state.sealed")...)); mode != "600-root" {
		t.Errorf("the copy on cp-1 is %s", mode)
	}
	r.operator(t, time.Minute, "state", "export", "-f", r.clusterFile(), "--state", r.state(), "-o", file, "--passphrase-file", pass)
	for name, argv := range map[string][]string{"file": {file}, "copy": {"--from", "cp-1", "-f", r.clusterFile()}} {
		state := filepath.Join(r.work, "state-from-"+name)
		r.operator(t, time.Minute, append([]string{"state", "import", "--state", state, "--passphrase-file", pass}, argv...)...)
		if o := r.again(t, "--state", state); o.code != 0 || o.report.Changed != 0 {
			t.Errorf("install with the state from the %s: exit %d, changed %d, want 0 and 0:\n%s", name, o.code, o.report.Changed, o.output)
		}
	}
}

// exitCode returns the exit status behind an error of try, 0 for nil and -1 if there is none.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// reset leaves no unit, process, mount or file of ours; OS packages stay and are named.
func (r *road) reset(t *testing.T) {
	out := r.operator(t, 10*time.Minute, "reset", "-f", r.clusterFile(), "--state", r.state(), "--yes")
	if !strings.Contains(out, "chrony") {
		t.Errorf("reset does not name the packages that stay:\n%s", out)
	}
	const look = `
systemctl list-units --all --no-legend --plain 'kube*' 'etcd*' 'containerd*' 'offk8s*' | awk '{print "unit " $1}'
ls /etc/systemd/system/ | grep -E '^(kube|etcd|containerd|offk8s)' | sed 's/^/unit file /'
ps -eo comm= | grep -E '^(kube|etcd|containerd|runc|flanneld|coredns|pause|offk8s)' | sed 's/^/process /'
awk '$2 ~ "^/(run/containerd|var/lib/kubelet/|run/netns|var/lib/containerd/|run/k3s|opt/cni|etc/kubernetes)" {print "mount " $2}' /proc/mounts
ls -d /etc/kubernetes /etc/etcd /etc/containerd /etc/offk8s /etc/cni /opt/cni /opt/offk8s /var/lib/offk8s /usr/local/bin/* /usr/local/bin/.offk8s /run/flannel 2>/dev/null | sed 's/^/file /'
for d in /var/lib/etcd /var/lib/kubelet /var/lib/containerd; do find $d -mindepth 1 -maxdepth 1 2>/dev/null | head -3 | sed 's/^/file /'; done
ip route | grep -E '^(10\.96\.|10\.244\.|unreachable)' | sed 's/^/route /'
ip -o link | grep -oE '(cni0|flannel[^:@ ]*|veth[0-9a-f]+)' | sed 's/^/link /'
iptables-save 2>/dev/null | grep -oE '^:(KUBE|FLANNEL|CNI)[A-Z0-9-]*' | head -3 | sed 's/^/iptables chain /'
grep -n offk8s /etc/hosts /etc/fstab | sed 's/^/line /'
true`
	for _, h := range r.hosts() {
		argv := r.ssh(h.addr, "sh")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(look)
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

func (r *road) clusterFile() string { return filepath.Join(r.work, "cluster.yaml") }
func (r *road) state() string       { return filepath.Join(r.work, "operator-state") }

// clusterYAML is the file that a user of such hosts would write. Below the hosts stand
// the overrides that only this lab needs (docs in test/lab/README.md).
var clusterYAML = template.Must(template.New("cluster").Parse(`apiVersion: offk8s.dev/v1
kind: Cluster
name: lab
kubernetes: "{{.Minor}}"
mirror:
  url: https://{{.Mirror}}
  caFingerprint: "{{.Fingerprint}}"
ssh:
  user: root
  keyFile: {{.Dir}}/ssh/id_ed25519
  knownHosts: {{.Dir}}/known_hosts
hosts:
{{- range .Hosts}}
  - {name: {{index . 0}}, address: {{index . 1}}, roles: [{{index . 2}}]}
{{- end}}
time:
  args: ["-x"]
runtime:
  cgroupDriver: cgroupfs
  config:
    plugins:
      {{.Plugin}}:
        restrict_oom_score_adj: true
kubelet:
  config:
    evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
    imageGCHighThresholdPercent: 100
{{- if .FailCgroupV1}}
    failCgroupV1: false
{{- end}}
{{.Extra}}`))

func (r *road) writeCluster(t *testing.T) {
	t.Helper()
	f, err := os.Create(r.clusterFile())
	must(t, err)
	defer f.Close()
	var hosts [][3]string
	for _, h := range r.hosts() {
		if r.gone != "" { // two members are not accepted
			h.roles = strings.ReplaceAll(h.roles, "etcd, worker", "worker")
		}
		if h.name != r.gone {
			hosts = append(hosts, [3]string{h.name, h.addr, h.roles})
		}
	}
	must(t, clusterYAML.Execute(f, map[string]any{
		"Minor": r.minor, "Mirror": mirrorAddr, "Fingerprint": r.fingerprint, "Dir": r.dir,
		"Hosts": hosts, "Plugin": r.criPlugin, "FailCgroupV1": r.failCgroupV1, "Extra": r.extra,
	}))
}

// offk8s runs the program on the online side.
func (r *road) offk8s(t *testing.T, limit time.Duration, args ...string) string {
	t.Helper()
	return run(t, limit, append([]string{r.bin}, args...)...)
}

// operator runs the program where the operator sits, inside the closed network.
func (r *road) operator(t *testing.T, limit time.Duration, args ...string) string {
	t.Helper()
	stop := make(chan struct{})
	defer close(stop)
	go r.watch.processes(stop)
	out, err := tryTo(t, limit, io.MultiWriter(os.Stderr, &r.watch), in("operator", append([]string{r.bin}, args...)...)...)
	_, _ = r.watch.Write([]byte(out))
	if err != nil {
		t.Fatalf("offk8s %s: %v\n%s", args[0], err, out)
	}
	return out
}

func (r *road) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + a + "'"
	}
	return run(t, time.Minute, r.ssh("10.66.0.11", append([]string{"kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}, quoted...)...)...)
}

// pause is the name of the pause image of this release.
func (r *road) pause(t *testing.T) string {
	t.Helper()
	cat, err := catalog.Embedded()
	must(t, err)
	release, err := cat.Release(r.minor)
	must(t, err)
	return release.Images["pause"].Ref
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
