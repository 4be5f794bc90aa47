//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// cluster looks at the cluster with its own kubectl; smoke has run inside install.
func (r *road) cluster(t *testing.T) {
	eventually(t, 2*time.Minute, "nodes", func() (err error) {
		out := r.kubectl(t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.kubeletVersion}{"\n"}{end}`)
		for _, h := range r.nodes() {
			if !strings.Contains(out, h.name+" True v"+r.full) {
				err = fmt.Errorf("node %s is not Ready at v%s:\n%s", h.name, r.full, out)
			}
		}
		if n := strings.Count(out, "\n"); n != len(r.nodes()) {
			err = fmt.Errorf("%d nodes, want %d:\n%s", n, len(r.nodes()), out)
		}
		return err
	})
	if out := r.kubectl(t, "get", "secrets", "-n", "kube-system", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name"); out != "" {
		t.Errorf("bootstrap tokens are left: %s", out)
	}
	if out := r.kubectl(t, "get", "namespaces", "-o", "name"); strings.Contains(out, "smoke") {
		t.Errorf("smoke left a namespace:\n%s", out)
	}
}

// network: every node reaches the pods of others, and services, the host without a default
// route too, after a network restart and a kubelet's.
// That pods of every node reach services and DNS is a part of smoke.
func (r *road) network(t *testing.T) {
	const service = "10.96.0.0/16"
	for _, h := range r.nodes() {
		r.podRoutes(t, h)
		route := run(t, time.Minute, r.ssh(h.addr, "ip", "route", "show", service)...)
		if (route != "") != (h.way == "none") || route != "" && !strings.Contains(route, "dev host0") {
			t.Errorf("%s: route to services %q", h.name, route)
		}
		if h.way == "none" {
			run(t, time.Minute, r.ssh(h.addr, "ip route del "+service+" && systemctl restart kubelet")...)
		}
		eventually(t, 3*time.Minute, h.name+" reaches services", func() error {
			_, err := try(t, 20*time.Second, r.ssh(h.addr, "curl", "-sk", "--max-time", "10", "-o", "/dev/null", "https://10.96.0.1/")...)
			return err
		})
	}
}

// podRoutes checks how a node reaches the pods of others: by a tunnel on the interface with
// its address, or by routes.
func (r *road) podRoutes(t *testing.T, h host) {
	t.Helper()
	if r.plan.cni == "kube-router" || strings.Contains(r.plan.extra, "host-gw") {
		got := run(t, time.Minute, r.ssh(h.addr, "ip", "route")...)
		for _, other := range r.nodes() {
			if other.name != h.name && !regexp.MustCompile(`(?m)^10\.244\.\S+ via `+regexp.QuoteMeta(other.addr)+` dev host0\b`).MatchString(got) {
				t.Errorf("%s: no route to the pods of %s:\n%s", h.name, other.name, got)
			}
		}
		return
	}
	if got := r.kubectl(t, "get", "node", h.name, "-o", `jsonpath={.metadata.annotations.flannel\.alpha\.coreos\.com/public-ip}`); got != h.addr {
		t.Errorf("%s: flannel's address is %q, want %s", h.name, got, h.addr)
	}
	var got string
	eventually(t, 3*time.Minute, h.name+" has flannel's interface", func() (err error) { // after a boot, when its pod runs
		got, err = try(t, time.Minute, r.ssh(h.addr, "ip", "-d", "link", "show", "flannel.1")...)
		return err
	})
	if !strings.Contains(got, "local "+h.addr+" dev host0") {
		t.Errorf("%s: VXLAN is on another interface:\n%s", h.name, got)
	}
}

// time: the control planes are the sources of every other host.
func (r *road) time(t *testing.T) {
	for _, h := range r.hosts {
		if h.has(controlPlane) {
			continue
		}
		eventually(t, 4*time.Minute, "chrony sources of "+h.name, func() error {
			out, err := try(t, 20*time.Second, r.ssh(h.addr, "chronyc", "-n", "sources")...)
			if err != nil {
				return err
			}
			for _, cp := range r.with(controlPlane) {
				if !regexp.MustCompile(`(?m)^\^[*+-] ` + regexp.QuoteMeta(cp.addr) + `\b`).MatchString(out) {
					err = errors.Join(err, fmt.Errorf("%s is not a source that answers", cp.addr))
				}
			}
			if !strings.Contains(out, "^*") {
				err = errors.Join(err, errors.New("no source is selected"))
			}
			if err != nil {
				return fmt.Errorf("%w:\n%s", err, out)
			}
			return nil
		})
	}
}

// etcdctl is the head of a command on a host that has etcd's client certificate.
const etcdctl = "env ETCDCTL_API=3 etcdctl --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/client.crt --key=/etc/etcd/pki/client.key --command-timeout=5s --endpoints="

func clientURL(h host) string { return "https://" + h.addr + ":2379" }

// etcd has a healthy member on every host with the role, and no other.
func (r *road) etcd(t *testing.T) {
	t.Helper()
	eventually(t, 3*time.Minute, "members of etcd", func() error {
		at, healthy, want := r.with(member)[0], r.healthy(t), len(r.with(member))
		out, err := try(t, time.Minute, r.ssh(at.addr, etcdctl+clientURL(at)+" member list")...)
		if all := strings.Count(out, "\n"); err == nil && (len(healthy) != want || all != want) {
			err = fmt.Errorf("%d members of which %q are healthy, want %d", all, names(healthy), want)
		}
		return err
	})
}

// healthy returns the hosts whose members answer through a quorum.
func (r *road) healthy(t *testing.T) []host {
	t.Helper()
	var hosts []host
	for _, h := range r.with(member) {
		if _, err := try(t, time.Minute, r.ssh(h.addr, etcdctl+clientURL(h)+" endpoint health")...); err == nil {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// leader returns the host of etcd's leader.
func (r *road) leader(t *testing.T) host {
	t.Helper()
	var leader host
	eventually(t, time.Minute, "etcd has a leader", func() error {
		for _, h := range r.healthy(t) {
			var status []struct {
				Status struct {
					Header struct {
						Member uint64 `json:"member_id"`
					} `json:"header"`
					Leader uint64 `json:"leader"`
				} `json:"Status"`
			}
			out, err := try(t, time.Minute, r.ssh(h.addr, etcdctl+clientURL(h)+" endpoint status -w json")...)
			if err == nil {
				err = json.Unmarshal([]byte(out), &status)
			}
			if err != nil {
				return err
			}
			if len(status) == 1 && status[0].Status.Leader == status[0].Status.Header.Member {
				leader = h
				return nil
			}
		}
		return errors.New("none of the members is one")
	})
	return leader
}

// well waits until every host is as it should be: members of etcd, API servers, nodes,
// balancers.
func (r *road) well(t *testing.T) {
	t.Helper()
	eventually(t, 5*time.Minute, "all is well", func() error {
		if healthy := r.healthy(t); len(healthy) != len(r.with(member)) {
			return fmt.Errorf("healthy members: %s", names(healthy))
		}
		for _, h := range r.with(controlPlane) {
			if out, err := r.tryKubectl(t, "--server=https://"+h.addr+":6443", "get", "--raw", "/readyz"); err != nil {
				return fmt.Errorf("%s: %w: %s", h.name, err, out)
			}
		}
		for _, h := range r.with(balancer) {
			if out, err := try(t, time.Minute, r.ssh(h.addr, "systemctl", "is-active", "haproxy", "keepalived")...); err != nil {
				return fmt.Errorf("%s: %s", h.name, out)
			}
		}
		out, err := r.tryKubectl(t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		if n := strings.Count(out, " True\n"); err == nil && n != len(r.nodes()) {
			err = fmt.Errorf("nodes:\n%s", out)
		}
		return err
	})
}
