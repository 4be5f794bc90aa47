//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The second day of a cluster: arguments change, hosts fail, are replaced and leave.
// Nothing of it may take two members of anything down at once.

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
	out, err := try(t, installLimit, in("operator", argv...)...)
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

// argument changes an argument of etcd on all members: they restart one by one, and
// clients hardly notice.
func (r *road) argument(t *testing.T) {
	r.extra = "etcd:\n  args: {quota-backend-bytes: \"4294967296\"}\n"
	r.writeCluster(t)
	stop := r.etcdWriter(t)
	o := r.again(t)
	gap := stop()
	if o.code != 0 || o.report.Changed != len(r.with(member)) {
		t.Fatalf("exit %d, changed %d, want 0 and one per member\n%s", o.code, o.report.Changed, o.output)
	}
	if limit := limit(5 * time.Second); gap > limit {
		t.Errorf("no write succeeded for %s, want %s at most", gap, limit)
	}
	for _, h := range r.with(member) {
		run(t, time.Minute, r.ssh(h.addr, "pgrep", "-f", "quota-backend-bytes=4294967296")...)
	}
}

// badArgument gives etcd an argument with which it does not start: one member is
// down, the others serve, and the error names it. The right argument mends it.
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
	first := r.with(member)[0]
	if failed != first.name+" in etcd " {
		t.Errorf("failed: %q, want %s in etcd\n%s", failed, first.name, o.output)
	}
	if healthy, all := r.healthy(t), len(r.with(member)); len(healthy) != all-1 {
		t.Errorf("%q of %d members are healthy, want all but one", names(healthy), all)
	}
	r.extra = good
	r.writeCluster(t)
	r.wants(t, 0)
	r.etcd(t)
}

// away: a host that is down is named and left out; the others are as they should be. It
// is the first control plane if there are others.
func (r *road) away(t *testing.T) {
	h := r.hosts[len(r.hosts)-1]
	if cps := r.with(controlPlane); len(cps) > 1 {
		h = cps[0]
	}
	r.sh(t, "stop", h.name)
	o := r.wants(t, 3)
	if o.report.Changed != 0 || o.report.Failed != 1 || !strings.Contains(o.output, h.name) {
		t.Errorf("changed %d, failed %d, want 0 and 1, and %s named:\n%s", o.report.Changed, o.report.Failed, h.name, o.output)
	}
	r.sh(t, "start", h.name)
	r.well(t)
}

// replaced: another machine takes the place of the last member of etcd and, if there are
// several, of the first balancer, with their names and addresses.
func (r *road) replaced(t *testing.T) {
	members := r.with(member)
	hosts := members[len(members)-1:]
	if b := r.with(balancer); len(b) > 0 {
		hosts = append(slices.Clone(hosts), b[0])
	}
	for _, h := range hosts {
		r.sh(t, "down", h.name)
		r.boot(t, h)
		r.wants(t, 0)
		r.etcd(t)
		r.well(t)
	}
	r.cluster(t)
	r.secondRun(t)
}

// spare returns the workers that are members of etcd, if a control plane is one too: then
// they can go.
func (r *road) spare() []host {
	workers := slices.DeleteFunc(r.with(worker), func(h host) bool { return !h.has(member) || h.has(controlPlane) })
	if len(workers) < 2 || len(r.with(member)) == len(workers) {
		return nil
	}
	return workers
}

// leaves: a worker and member leaves cluster.yaml and the cluster, and another one is a
// member no longer. Then both come back.
func (r *road) leaves(t *testing.T) {
	before, spare := r.hosts, r.spare()
	stays, h := spare[0], spare[1]
	r.hosts = slices.DeleteFunc(slices.Clone(before), func(x host) bool { return x.name == h.name })
	for i := range r.hosts {
		if r.hosts[i].name == stays.name { // two members are not accepted
			r.hosts[i].roles = []string{worker}
		}
	}
	r.writeCluster(t)
	dry := r.again(t, "--dry-run")
	if !strings.Contains(dry.output, h.name) {
		t.Errorf("the dry run does not say that %s leaves:\n%s", h.name, dry.output)
	}
	r.wants(t, 0)
	r.cluster(t)
	r.etcd(t)
	run(t, time.Minute, r.ssh(stays.addr, "test ! -e /var/lib/etcd/member && ! pgrep -x etcd && test ! -e /etc/etcd && pgrep kubelet")...)
	run(t, time.Minute, r.ssh(h.addr, "test ! -e /var/lib/offk8s && test ! -e /etc/kubernetes && test ! -e /var/lib/etcd/member && ! pgrep kubelet")...)
	for _, x := range r.hosts {
		run(t, time.Minute, r.ssh(x.addr, "! grep -w "+h.name+" /etc/hosts")...)
	}
	r.secondRun(t)
	r.hosts = before
	r.writeCluster(t)
	r.wants(t, 0)
	r.etcd(t)
	r.cluster(t)
}

// grows adds two control planes with members of etcd and two balancers to a living
// cluster of one, while a client writes by the address of the first.
func (r *road) grows(t *testing.T) {
	w := r.startWriter(t)
	defer w.end(t)
	for _, h := range r.all {
		if !slices.Contains(r.plan.start, h.name) {
			r.boot(t, h)
		}
	}
	r.hosts, r.vip = r.all, r.plan.vip
	r.writeCluster(t)
	w.longest(t, "from one control plane to three", func() { r.wants(t, 0) }) // the only one restarts: no limit
	r.well(t)
	r.cluster(t)
	r.network(t)
	r.time(t)
	r.etcd(t)
	r.secondRun(t)
}

// otherVersion serves the bundle of the road before this one: install refuses to make
// an upgrade of everything at once.
func (r *road) otherVersion(t *testing.T) {
	bundles, err := filepath.Glob(filepath.Join(r.dir, "road-*", "dmz", "b.tar"))
	must(t, err)
	of := func(b string) int {
		return slices.IndexFunc(versions, func(v version) bool { return strings.Contains(b, "/road-"+v.full+"-") })
	}
	program, err := os.Stat(r.bin)
	must(t, err)
	bundles = slices.DeleteFunc(bundles, func(b string) bool {
		packed, err := os.Stat(b)
		must(t, err)
		old := packed.ModTime().Before(program.ModTime()) && os.Getenv("E2E_LONG") == "" // not packed by this program
		return old || of(b) < 0 || versions[of(b)].full == r.full
	})
	if len(bundles) == 0 {
		t.Skip("no road of another version was packed before")
	}
	before, work, bundle, fingerprint, state := r.version, r.work, r.bundle, r.fingerprint, r.state()
	defer func() {
		r.stop()
		r.version, r.work, r.bundle, r.fingerprint = before, work, bundle, fingerprint
		r.serve(t)
	}()
	r.stop()
	r.bundle = bundles[0]
	r.work = filepath.Dir(filepath.Dir(r.bundle))
	// The settings of containerd have to suit the other bundle, or it is refused for them.
	r.version = versions[of(r.bundle)]
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

// cutNow cuts the connections of a host once a package transaction runs, or is over.
const cutNow = `end=$(($(date +%s) + 120))
until [ -x /usr/sbin/chronyd ] || [ $(date +%s) -gt $end ] || systemctl list-units --type=scope --no-legend --plain | grep -q '^run-'; do sleep 0.05; done
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
	hosts := r.families()
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
	if code != 3 || len(cut) != len(hosts) {
		t.Errorf("exit %d, want 3; connections cut: %v", code, cut)
	}
	r.free(t)
	for _, h := range hosts {
		run(t, time.Minute, r.ssh(h.addr, `if command -v dpkg >/dev/null && [ -s /var/lib/dpkg/status ] && [ ! -d /var/lib/rpm ]; then
test -z "$(dpkg --audit)"; else rpmdb --verifydb; fi && command -v chronyd && chronyd --version`)...)
	}
}
