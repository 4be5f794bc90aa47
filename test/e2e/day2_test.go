//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The second day of a cluster: arguments change, hosts fail, are replaced and leave.
// Nothing of it may take two members of anything down at once.

// secondDay returns the part for the newest version only, unless E2E_LONG is set.
func (r *road) secondDay(part func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) {
		if r.minor == "1.36" || os.Getenv("E2E_LONG") != "" {
			part(t)
		}
	}
}

// outcome is the end of an install that may fail.
type outcome struct {
	code   int
	output string // stdout and the error
	report struct {
		Changed int `json:"changed"`
		Failed  int `json:"failed"`
		Hosts   []struct {
			Host  string `json:"host"`
			Stage string `json:"stage"`
			Error string `json:"error"`
		} `json:"hosts"`
	}
}

// again runs install for the cluster.yaml that is there now.
func (r *road) again(t *testing.T, more ...string) outcome {
	t.Helper()
	argv := append([]string{r.bin, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--format", "json", "--progress", "plain"}, more...)
	out, err := try(t, 20*time.Minute, in("operator", argv...)...)
	o := outcome{code: exitCode(err), output: out}
	if err != nil {
		o.output += err.Error()
	}
	_ = json.Unmarshal([]byte(out), &o.report) // an early refusal has no report
	return o
}

// wants fails the test unless install ended with the code.
func (r *road) wants(t *testing.T, code int, more ...string) outcome {
	t.Helper()
	o := r.again(t, more...)
	if o.code != code {
		t.Fatalf("install %v: exit %d, want %d\n%s", more, o.code, code, o.output)
	}
	return o
}

// members returns the healthy members of etcd, and all.
func (r *road) members(t *testing.T) (healthy, all int) {
	t.Helper()
	const ctl = "env ETCDCTL_API=3 etcdctl --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/client.crt --key=/etc/etcd/pki/client.key --endpoints="
	list := run(t, time.Minute, r.ssh("10.66.0.11", ctl+"https://10.66.0.11:2379 member list")...)
	for l := range strings.Lines(list) {
		all++
		f := strings.Split(strings.TrimSpace(l), ", ")
		if len(f) < 5 || f[4] == "" {
			continue
		}
		if _, err := try(t, time.Minute, r.ssh("10.66.0.11", ctl+f[4]+" --command-timeout=5s endpoint health")...); err == nil {
			healthy++
		}
	}
	return healthy, all
}

// writer writes to etcd all the time. The function that it returns ends it and
// returns the longest time between two writes that succeeded.
func (r *road) writer(t *testing.T) func() time.Duration {
	t.Helper()
	const loop = `
export ETCDCTL_API=3
e="--endpoints=https://10.66.0.11:2379,https://10.66.0.12:2379,https://10.66.0.13:2379
 --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/client.crt --key=/etc/etcd/pki/client.key"
until [ -e /run/offk8s-e2e-stop ]; do
  etcdctl $e --dial-timeout=1s --command-timeout=2s put offk8s-e2e x >/dev/null 2>&1 && date +%s.%N
done
rm -f /run/offk8s-e2e-stop`
	argv := r.ssh("10.66.0.11", "bash", "-s")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(loop)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	must(t, cmd.Start())
	return func() time.Duration {
		run(t, time.Minute, r.ssh("10.66.0.11", "touch", "/run/offk8s-e2e-stop")...)
		_ = cmd.Wait()
		var last, gap float64
		n := 0
		for l := range strings.Lines(out.String()) {
			at, err := strconv.ParseFloat(strings.TrimSpace(l), 64)
			must(t, err)
			if last > 0 {
				gap = max(gap, at-last)
			}
			last = at
			n++
		}
		t.Logf("%d writes, longest gap %.1f s", n, gap)
		if n < 10 {
			t.Errorf("only %d writes succeeded", n)
		}
		return time.Duration(gap * float64(time.Second))
	}
}

// argument changes an argument of etcd on all members: they restart one by one, and
// clients hardly notice.
func (r *road) argument(t *testing.T) {
	r.extra = "etcd:\n  args: {quota-backend-bytes: \"4294967296\"}\n"
	r.writeCluster(t)
	stop := r.writer(t)
	o := r.again(t)
	gap := stop()
	if o.code != 0 || o.report.Changed != 3 {
		t.Fatalf("exit %d, changed %d, want 0 and 3\n%s", o.code, o.report.Changed, o.output)
	}
	if gap > 5*time.Second {
		t.Errorf("no write succeeded for %s, want 5s at most", gap)
	}
	for _, h := range r.hosts() {
		run(t, time.Minute, r.ssh(h.addr, "pgrep", "-f", "quota-backend-bytes=4294967296")...)
	}
}

// badArgument gives etcd an argument with which it does not start: one member is
// down, two serve, and the error names it. The right argument mends it.
func (r *road) badArgument(t *testing.T) {
	good := r.extra
	r.extra = "etcd:\n  args: {quota-backend-bytes: \"4294967296\", election-timeout: \"7\"}\n"
	r.writeCluster(t)
	o := r.wants(t, 3)
	failed := ""
	for _, h := range o.report.Hosts {
		if h.Error != "" {
			failed += h.Host + " in " + h.Stage + " "
		}
	}
	if failed != "cp-1 in etcd " {
		t.Errorf("failed: %q, want cp-1 in etcd\n%s", failed, o.output)
	}
	if healthy, all := r.membersFrom(t, "10.66.0.12"); healthy != 2 || all != 3 {
		t.Errorf("%d of %d members are healthy, want 2 of 3", healthy, all)
	}
	r.extra = good
	r.writeCluster(t)
	r.wants(t, 0)
	if healthy, _ := r.members(t); healthy != 3 {
		t.Errorf("%d members are healthy after the argument was mended, want 3", healthy)
	}
}

// membersFrom is members, asked on another host.
func (r *road) membersFrom(t *testing.T, addr string) (healthy, all int) {
	t.Helper()
	for _, h := range r.hosts() {
		all++
		_, err := try(t, time.Minute, r.ssh(addr, "env ETCDCTL_API=3 etcdctl --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/client.crt "+
			"--key=/etc/etcd/pki/client.key --command-timeout=5s --endpoints=https://"+h.addr+":2379 endpoint health")...)
		if err == nil {
			healthy++
		}
	}
	return healthy, all
}

// away: a host that is down is named and left out; the others are as they should be.
func (r *road) away(t *testing.T) {
	r.sh(t, "stop", "node-2")
	o := r.wants(t, 3)
	if o.report.Changed != 0 || !strings.Contains(o.output, "node-2") {
		t.Errorf("changed %d, want 0 and node-2 named:\n%s", o.report.Changed, o.output)
	}
	r.sh(t, "start", "node-2")
	eventually(t, 2*time.Minute, "three members", func() error {
		if healthy, all := r.members(t); healthy != 3 {
			return fmt.Errorf("%d of %d are healthy", healthy, all)
		}
		return nil
	})
}

// replaced: another machine takes the place of a member and worker, with its name and
// address.
func (r *road) replaced(t *testing.T) {
	r.sh(t, "down", "node-2")
	h := r.hosts()[2]
	r.sh(t, "up", h.name, h.addr+"/24", h.os, h.way)
	r.wants(t, 0)
	if healthy, all := r.members(t); healthy != 3 || all != 3 {
		t.Errorf("%d of %d members are healthy, want 3 of 3", healthy, all)
	}
	r.cluster(t)
	r.secondRun(t)
}

// leaves: a worker and member leaves cluster.yaml and the cluster, and another one is a
// member no longer. Then both come back.
func (r *road) leaves(t *testing.T) {
	h := r.hosts()[2]
	r.gone = h.name
	r.writeCluster(t)
	dry := r.again(t, "--dry-run")
	if !strings.Contains(dry.output, h.name) {
		t.Errorf("the dry run does not say that %s leaves:\n%s", h.name, dry.output)
	}
	r.wants(t, 0)
	if nodes := r.kubectl(t, "get", "nodes", "-o", "name"); strings.Contains(nodes, h.name) {
		t.Errorf("%s is still a node:\n%s", h.name, nodes)
	}
	if healthy, all := r.members(t); healthy != 1 || all != 1 {
		t.Errorf("%d of %d members are healthy, want 1 of 1", healthy, all)
	}
	run(t, time.Minute, r.ssh(r.hosts()[1].addr, "test ! -e /var/lib/etcd/member && ! pgrep -x etcd && test ! -e /etc/etcd && pgrep kubelet")...)
	run(t, time.Minute, r.ssh(h.addr, "test ! -e /var/lib/offk8s && test ! -e /etc/kubernetes && test ! -e /var/lib/etcd/member && ! pgrep kubelet")...)
	for _, x := range r.hosts()[:2] {
		run(t, time.Minute, r.ssh(x.addr, "! grep -w "+h.name+" /etc/hosts")...)
	}
	r.secondRun(t)
	r.gone = ""
	r.writeCluster(t)
	r.wants(t, 0)
	if healthy, all := r.members(t); healthy != 3 || all != 3 {
		t.Errorf("%d of %d members are healthy after it came back, want 3 of 3", healthy, all)
	}
	r.cluster(t)
}

// otherVersion serves the bundle of the road before this one: install refuses to make
// an upgrade of everything at once.
func (r *road) otherVersion(t *testing.T) {
	bundles, err := filepath.Glob(filepath.Join(r.dir, "road-*", "dmz", "b.tar"))
	must(t, err)
	bundles = slices.DeleteFunc(bundles, func(b string) bool { return b == r.bundle })
	if len(bundles) == 0 {
		t.Skip("no other road was packed before")
	}
	minor, work, bundle, fingerprint, plugin, state := r.minor, r.work, r.bundle, r.fingerprint, r.criPlugin, r.state()
	defer func() {
		r.stop()
		r.minor, r.work, r.bundle, r.fingerprint, r.criPlugin = minor, work, bundle, fingerprint, plugin
		r.serve(t)
	}()
	r.stop()
	r.bundle = bundles[0]
	r.work = filepath.Dir(filepath.Dir(r.bundle))
	r.minor = strings.TrimPrefix(filepath.Base(r.work), "road-")
	// The settings of containerd have to suit the other bundle, or it is refused for them.
	r.criPlugin = map[string]string{"1.16": "io.containerd.grpc.v1.cri", "1.36": "io.containerd.cri.v1.runtime"}[r.minor]
	r.serve(t)
	r.writeCluster(t)
	for _, more := range [][]string{{"--dry-run"}, nil} {
		argv := append([]string{r.bin, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", state}, more...)
		out, err := try(t, 5*time.Minute, in("operator", argv...)...)
		if code := exitCode(err); code != 5 || !strings.Contains(err.Error(), "upgrade") {
			t.Errorf("install %v of a bundle of %s: exit %d, want 5: %v\n%s", more, r.minor, code, err, out)
		}
	}
}

// cutNow cuts the connections of a host once a package transaction runs.
const cutNow = `for i in $(seq 400); do systemctl list-units --type=scope --no-legend --plain | grep -q '^run-' && break; sleep 0.05; done
pkill -KILL -f '^sshd: root'`

// cutTransaction cuts the connection to two hosts while their packages are installed:
// the transactions end on the hosts, and the package databases are whole.
func (r *road) cutTransaction(t *testing.T) {
	argv := in("operator", r.bin, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--progress", "json")
	cmd := exec.Command(argv[0], argv[1:]...)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	limit := time.AfterFunc(10*time.Minute, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	hosts := r.hosts()[1:] // one of each family
	cut := map[string]bool{}
	var cuts sync.WaitGroup
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var e struct{ Host, Type, ID string }
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Type != "start" || e.ID != "time/package" {
			continue
		}
		for _, h := range hosts {
			if h.name == e.Host && !cut[h.name] {
				cut[h.name] = true
				cuts.Go(func() { r.sh(t, "in", h.name, "sh", "-c", cutNow) })
			}
		}
	}
	code := exitCode(cmd.Wait())
	cuts.Wait()
	if code != 3 || len(cut) != 2 {
		t.Errorf("exit %d, want 3; connections cut: %v", code, cut)
	}
	r.free(t)
	for _, h := range hosts {
		run(t, time.Minute, r.ssh(h.addr, `if command -v dpkg >/dev/null && [ -s /var/lib/dpkg/status ] && [ ! -d /var/lib/rpm ]; then
test -z "$(dpkg --audit)"; else rpmdb --verifydb; fi && command -v chronyd && chronyd --version`)...)
	}
}
