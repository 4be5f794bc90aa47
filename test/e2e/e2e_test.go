//go:build e2e

// Package e2e is the whole road on real hosts: pack from real layouts, verify,
// serve, install, a running cluster, a second run, reset. `make e2e` runs it.
package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/test/e2e/upstream"
)

// road is one line's way through the lab.
type road struct {
	*lab
	version
	plan  plan
	main  bool   // CI's line of the newest version
	ci    bool   // a line of CI
	hosts []host // of the cluster; parts change it to change the cluster
	all   []host // of a plan that grows
	vip   string // of the balancers that the cluster has
	extra string // more lines of cluster.yaml

	binaries, dockerDirs []string // directories of programs, in order of preference
	kubectlFile          string

	work, bundle string
	booted       []string // hosts and namespaces that were made
	fingerprint  string   // of the mirror's CA
	watch        watcher
	mirror       *exec.Cmd   // offk8s serve, at mirrorAddr
	servers      []*exec.Cmd // that run beside it
	captures     []*capture
}

const mirrorAddr = "10.66.0.3:8443"

func TestRoad(t *testing.T) {
	l := newLab(t)
	roads := chosen(t, l)
	if len(roads) == 0 {
		t.Fatal("E2E_LINES and E2E_VERSION leave no line")
	}
	for _, r := range roads {
		if !t.Run(r.name(), r.travel) {
			return // the second would fail the same way; its noise hides the first
		}
	}
}

// part is a part of a road.
type part struct {
	name string
	run  func(*testing.T)
	on   bool
}

// travel is the road; each part needs the one before it.
func (r *road) travel(t *testing.T) {
	r.work = filepath.Join(r.dir, "road-"+r.name())
	if os.Getenv("E2E_RESUME") != "" {
		r.resume()
	} else {
		must(t, os.RemoveAll(r.work))
	}
	if err := os.MkdirAll(r.work, 0o755); err != nil {
		t.Fatal(err)
	}
	r.build(t)
	// The parts that take minutes give install no password for sudo.
	long, balanced := os.Getenv("E2E_LONG") != "" && !r.plan.managed, len(r.with(controlPlane)) > 1 || r.all != nil
	parts := []part{
		{"pack", r.pack, true},
		{"hosts", r.bootHosts, true},
		{"verify", r.verify, r.ci},
		{"serve", r.serve, true},
		{"clients", r.clients, r.ci || r.plan.replicas},
		{"refused", r.refused, r.plan.refused != ""},
		{"conditions", r.conditions, r.plan.bare},
		{"managers", r.managers, r.plan.managed},
		{"record", r.record, r.plan.managed || r.ci},
		{"dry run", r.dryRun, true},
		{"cut transaction", r.cutTransaction, r.main || long && len(r.families()) == 2},
		{"killed install", r.killedInstall, r.main || long},
		{"killed replica", r.killedReplica, r.plan.replicas},
		{"install", r.install, !r.plan.tickets},
		{"tickets", r.tickets, r.plan.tickets},
		{"silence", r.silence, r.plan.managed || r.ci},
		{"cluster", r.cluster, true},
		{"network", r.network, true},
		{"time", r.time, true},
		{"etcd", r.etcd, true},
		{"hardened", r.hardened, true},
		{"second run", r.secondRun, true},
		{"registry away", r.registryAway, r.plan.replicas},
		{"reboot", r.reboot, r.plan.managed},
		{"rotate", r.rotate, long},
		{"join again", r.joinAgain, long},
		{"certificates", r.certificates, long},
		{"other machine", r.otherMachine, r.ci},
		{"other version", r.otherVersion, long || r.ci && !r.main}, // CI packs the newest version first
		{"argument", r.argument, (r.main || long) && len(r.with(member)) > 2},
		{"bad argument", r.badArgument, long && len(r.with(member)) > 2},
		{"away", r.away, long && len(r.with(member)) > 2},
		{"grows", r.grows, r.all != nil},
		{"outages", r.outages, balanced},
		{"fourth host", r.fourthHost, long && r.plan.vip != ""},
		{"replaced", r.replaced, long && len(r.with(member)) > 2},
		{"leaves", r.leaves, long && r.spare() != nil},
		{"secrets", r.secrets, true},
		{"reset", r.reset, true},
		{"left", r.left, r.plan.managed},
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("E2E_KEEP") != "" {
			return
		}
		r.stop()
		for _, c := range r.captures {
			_ = c.end() // the part that looks at them did not come
		}
		for _, name := range r.booted {
			_, _ = try(t, time.Minute, r.script, "down", name)
		}
	})
	last := ""
	switch {
	case r.plan.refused != "":
		last = "refused"
	case r.plan.bare:
		last = "conditions"
	}
	if last != "" {
		parts = parts[:1+slices.IndexFunc(parts, func(p part) bool { return p.name == last })]
	}
	for _, p := range parts {
		start := time.Now()
		switch {
		case !p.on:
		case !t.Run(p.name, p.run):
			return
		default:
			t.Logf("%s: %s", p.name, time.Since(start).Round(100*time.Millisecond))
		}
	}
}

// resume goes on with the hosts and the bundle that a run with E2E_KEEP left.
func (r *road) resume() {
	r.bundle = filepath.Join(r.work, "dmz", "b.tar")
	r.booted = append(strings.Fields(names(r.hosts)), "operator", "dmz")
}

// pack runs the real command against the stand-in and the machine's own
// Debian mirror, then once more from the Lock: the bytes must be the same.
func (r *road) pack(t *testing.T) {
	cat, err := catalog.Embedded()
	must(t, err)
	release, err := cat.Release(r.minor)
	must(t, err)
	cni, err := cat.CNI(cmp.Or(r.plan.cni, release.Defaults.CNI))
	must(t, err)
	cniRelease, err := cni.For(r.minor)
	must(t, err)
	distro, err := cat.Distro(r.rpm)
	must(t, err)
	up, err := upstream.Start(upstream.Config{
		Release: release, Network: cni.Name, CNI: cniRelease, Binaries: r.binaries, Docker: r.dockerDirs, Distros: []catalog.Distro{distro},
		RPMs: filepath.Join(r.cache, "rpms"), ToolsRoot: filepath.Join(r.cache, "components", "tools-root"),
		Work: filepath.Join(r.work, "upstream"),
	})
	must(t, err)
	defer up.Close()

	r.offk8s(t, time.Minute, "keys", "generate", "-o", filepath.Join(r.work, "offk8s.key"), "--no-passphrase")
	packed := filepath.Join(r.work, "b.tar")
	args := []string{
		"pack", "--version", r.minor, "--arch", "amd64", "--os", r.rpm + ",debian-12",
		"--key", filepath.Join(r.work, "offk8s.key"), "--catalog", up.Catalog,
		"--cache-dir", filepath.Join(r.dir, "cache"), "-o", packed, "--progress", "plain", "--cni", cni.Name,
	}
	if r.plan.docker {
		args = append(args, "--runtime", "docker")
	}
	for _, m := range up.Rewrites() {
		args = append(args, "--rewrite", m)
	}
	r.offk8s(t, 20*time.Minute, args...)

	again := filepath.Join(r.work, "again.tar")
	r.offk8s(t, 10*time.Minute, replace(append(args, "--lock", packed+".lock.json"), packed, again)...)
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
	for name, addr := range map[string]string{"operator": "10.66.0.4/24", "dmz": "10.66.0.3/24"} {
		r.booted = append(r.booted, name)
		r.sh(t, "netns", name, addr)
	}
	for _, h := range r.hosts {
		r.boot(t, h)
	}
}

// boot starts a host with an empty disk.
func (r *road) boot(t *testing.T, h host) {
	t.Helper()
	if !slices.Contains(r.booted, h.name) {
		r.booted = append(r.booted, h.name)
	}
	os := h.os
	if r.plan.managed && os == debian {
		os += "-managed"
	}
	r.sh(t, "up", h.name, h.addr+"/24", os, h.way)
	if r.plan.docker { // Debian's dockerd is not static
		run(t, time.Minute, "sh", "-c", "cp "+r.dockerDirs[0]+"/libdevmapper.so.* "+filepath.Join(r.dir, h.name, "root", "usr", "lib", "x86_64-linux-gnu"))
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

// serve starts the mirror in the DMZ's namespace, or replicas on a registry there.
func (r *road) serve(t *testing.T) {
	if r.plan.replicas {
		r.serveReplicas(t)
		return
	}
	r.mirror, r.fingerprint = r.startMirror(t, "serve", mirrorAddr, "--state", filepath.Join(r.work, "dmz", "state"), r.bundle)
}

// startMirror starts offk8s serve in the DMZ's namespace, waits until it answers, and returns
// the fingerprint it prints. Its output goes to NAME.log.
func (r *road) startMirror(t *testing.T, name, addr string, args ...string) (cmd *exec.Cmd, fingerprint string) {
	t.Helper()
	log, err := os.Create(filepath.Join(r.work, name+".log"))
	must(t, err)
	argv := in("dmz", append([]string{r.bin, "serve", "--key", r.pub(), "--listen", addr}, args...)...)
	cmd = exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
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
	case fingerprint = <-found:
	case <-time.After(3 * time.Minute):
		end(cmd)
		b, _ := os.ReadFile(log.Name())
		t.Fatalf("serve printed no fingerprint:\n%s", b)
	}
	eventually(t, time.Minute, "the mirror answers", func() error {
		_, err := try(t, 10*time.Second, in("operator", "curl", "-fsSk", "https://"+addr+"/healthz")...)
		return err
	})
	return cmd, fingerprint
}

// stop ends the mirror and what it stands on.
func (r *road) stop() {
	for _, cmd := range append([]*exec.Cmd{r.mirror}, r.servers...) {
		end(cmd)
	}
	r.mirror, r.servers = nil, nil
}

// end ends a process, if there is one.
func end(cmd *exec.Cmd) {
	if cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // its exit does not matter any more
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
  {{.Mirror}}
  caFingerprint: "{{.Fingerprint}}"
ssh:
  user: root
  keyFile: {{.Dir}}/ssh/id_ed25519
  knownHosts: {{.Dir}}/known_hosts
hosts:
{{- range .Hosts}}
  - {name: {{.Name}}, address: {{.Address}}, roles: [{{.Roles}}]{{with .SSH}}, ssh: {{.}}{{end}}}
{{- end}}
{{- if .VIP}}
loadBalancer:
  vip: {{.VIP}}
{{- end}}
time:
  args: ["-x"]
runtime:
  cgroupDriver: cgroupfs
{{- if .Plugin}}
  config:
    plugins:
      {{.Plugin}}:
        restrict_oom_score_adj: true
{{- end}}
kubelet:
  config:
    evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
    imageGCHighThresholdPercent: 100
{{- if not .KubeBench}}
    # The hosts share a kernel, and one that leaves puts back its settings.
    protectKernelDefaults: false
{{- end}}
{{- if .FailCgroupV1}}
    failCgroupV1: false
{{- end}}
proxy:
  config:
    conntrack: {maxPerCore: 0} # not for a host to set
{{.Extra}}`))

func (r *road) writeCluster(t *testing.T) {
	t.Helper()
	r.fill(t, r.clusterFile(), r.hosts, r.vip, r.plan.extra+r.extra)
}

// fill writes a cluster.yaml with the hosts.
func (r *road) fill(t *testing.T, file string, hosts []host, vip, extra string) {
	t.Helper()
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	type line struct{ Name, Address, Roles, SSH string }
	var lines []line
	for _, h := range hosts {
		lines = append(lines, line{h.name, h.addr, strings.Join(h.roles, ", "), h.ssh})
	}
	plugin := r.criPlugin
	if r.plan.docker {
		plugin = "" // the lab's runc does it
	}
	must(t, clusterYAML.Execute(f, map[string]any{
		"Minor": r.minor, "Mirror": r.mirrors(), "Fingerprint": r.fingerprint, "Dir": r.dir, "VIP": vip,
		"Hosts": lines, "Plugin": plugin, "FailCgroupV1": r.failCgroupV1, "Extra": extra, "KubeBench": os.Getenv("E2E_KUBE_BENCH") != "",
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
	if r.plan.managed && args[0] != "state" {
		args = append(args, "--become-password-file", r.passwordFile())
	}
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

// kubectl runs where the operator sits, by the address that cluster.yaml gives users. A
// connection may break while services restart: what it does can be repeated.
func (r *road) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	var out string
	eventually(t, time.Minute, "kubectl "+args[0], func() (err error) {
		out, err = r.tryKubectl(t, args...)
		return err
	})
	return out
}

func (r *road) tryKubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return try(t, time.Minute, in("operator", append([]string{r.kubectlFile, "--request-timeout=30s", "--kubeconfig=" + r.kubeconfig()}, args...)...)...)
}

// kubeconfig is the operator's, which install writes.
func (r *road) kubeconfig() string { return filepath.Join(r.state(), "admin.kubeconfig") }

// pause is the name of the pause image of this release.
func (r *road) pause(t *testing.T) string {
	t.Helper()
	cat, err := catalog.Embedded()
	must(t, err)
	release, err := cat.Release(r.minor)
	must(t, err)
	return release.Images["pause"].Ref
}
