//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// outages takes away a balancer, each control plane, a member of etcd and a whole host
// in turn, while a client writes. Afterwards everything is as it was.
func (r *road) outages(t *testing.T) {
	w := r.startWriter(t)
	defer w.end(t)
	check := func(what string, longest time.Duration, do, undo func()) {
		t.Helper()
		limit := limit(longest)
		if gap := w.longest(t, what, do); gap > limit {
			t.Errorf("%s: no write succeeded for %s, want %s at most", what, gap.Round(time.Millisecond), limit)
		}
		// Coming back may not disturb more than going.
		if gap := w.longest(t, what+", back", func() { undo(); r.well(t) }); gap > limit {
			t.Errorf("%s, back: no write succeeded for %s, want %s at most", what, gap.Round(time.Millisecond), limit)
		}
	}
	cut := func(h host) (do, undo func()) {
		return func() { r.sh(t, "stop", h.name, "hard") }, func() { r.sh(t, "start", h.name) }
	}
	service := func(h host, units string) (do, undo func()) {
		return func() {
				run(t, time.Minute, r.ssh(h.addr, "systemctl kill -s KILL "+units+"; systemctl stop "+units)...)
			}, func() {
				run(t, time.Minute, r.ssh(h.addr, "systemctl reset-failed "+units+"; systemctl start "+units)...)
			}
	}
	if r.vip != "" {
		active := r.active(t)
		do, undo := service(active, "haproxy")
		check("balancer's daemon on "+active.name, 5*time.Second, do, undo)
		active = r.active(t)
		do, undo = cut(active)
		check("balancer "+active.name, 5*time.Second, do, undo)
	}
	for _, h := range r.with(controlPlane) { // the writer is connected to one of them
		do, undo := service(h, "kube-apiserver kube-controller-manager kube-scheduler")
		check("control plane "+h.name, 3*time.Second, do, undo)
	}
	leader := r.leader(t)
	do, undo := service(leader, "etcd")
	check("etcd's leader on "+leader.name, 5*time.Second, do, undo)
	leader = r.leader(t)
	do, undo = cut(leader)
	check("host "+leader.name+" with etcd's leader", 5*time.Second, do, undo)
}

// active returns the balancer that has the virtual address.
func (r *road) active(t *testing.T) host {
	t.Helper()
	var found []host
	eventually(t, time.Minute, r.vip+" is on one balancer", func() error {
		found = nil
		for _, h := range r.with(balancer) {
			if out, err := try(t, time.Minute, r.ssh(h.addr, "ip -o addr show to "+r.vip+"/32")...); err == nil && strings.TrimSpace(out) != "" {
				found = append(found, h)
			}
		}
		if len(found) != 1 {
			return fmt.Errorf("it is on %q", names(found))
		}
		return nil
	})
	return found[0]
}

// fourthHost adds a worker. While it is installed, the power of the active balancer and
// of the host with etcd's leader is cut: the installation can be finished. Then the worker
// leaves again.
func (r *road) fourthHost(t *testing.T) {
	before := r.hosts
	h := host{name: "node-2", addr: "10.66.0.13", roles: []string{worker}, os: debian, way: "host0"}
	r.boot(t, h)
	r.hosts = append(r.hosts[:len(r.hosts):len(r.hosts)], h)
	r.writeCluster(t)
	lost := []host{r.active(t), r.leader(t)}
	argv := in("operator", r.bin, "install", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--progress", "json")
	cmd := exec.Command(argv[0], argv[1:]...)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	limit := time.AfterFunc(20*time.Minute, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	reached := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		fmt.Fprintln(os.Stderr, lines.Text())
		var e struct{ Host, Type, ID string }
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Host == h.name && e.Type == "start" && strings.HasPrefix(e.ID, "node/") && !reached {
			reached = true
			for _, x := range lost {
				r.sh(t, "stop", x.name, "hard")
			}
		}
	}
	code := exitCode(cmd.Wait())
	t.Logf("install while %s lost power: exit %d", names(lost), code)
	if !reached || code != 0 && code != 3 {
		t.Errorf("exit %d, want 0 or 3; power was cut: %v", code, reached)
	}
	for _, x := range lost {
		r.sh(t, "start", x.name)
	}
	r.free(t)
	r.wants(t, 0)
	r.well(t)
	r.cluster(t)
	r.secondRun(t)

	r.hosts = before
	r.writeCluster(t)
	r.wants(t, 0)
	r.cluster(t)
	run(t, time.Minute, r.ssh(h.addr, "test ! -e /var/lib/offk8s && test ! -e /etc/kubernetes && ! pgrep kubelet")...)
	r.sh(t, "down", h.name)
}
