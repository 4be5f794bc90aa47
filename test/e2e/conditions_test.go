//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// condition is something about a host that can break an installation.
type condition struct {
	name       string
	on         string // the host: "first", "second" or "third" of the round
	make, undo string // scripts, as root on the host
	ssh        string // settings of the host in cluster.yaml
	// check is the check of doctor that recognizes it, found a part of what it finds.
	check, verdict, found string
	plan                  string // a part of the plan of install, which handles it
	after                 string // a script on the host that has to succeed afterwards
}

// round are conditions that do not touch each other: they are made together, so that
// doctor and a dry run have to look only once.
type round struct {
	name       string
	doctor     []string // more arguments
	code, plan int      // exit codes of doctor and of the dry run; -1: no dry run
	conditions []condition
}

// user makes a user on a host; the lines of sudoers and EOF follow.
const (
	user = `useradd -m -s /bin/bash jdoe; echo 'jdoe:battery staple' | chpasswd
install -d -o jdoe -g jdoe -m 700 /home/jdoe/.ssh; install -o jdoe -m 600 /root/.ssh/authorized_keys /home/jdoe/.ssh/
cat >/etc/sudoers.d/jdoe <<'EOF'
`
	noUser = "userdel -rf jdoe; rm -f /etc/sudoers.d/jdoe"
)

var rounds = []round{
	{"refused", nil, 6, 6, []condition{
		{
			name: "second card in the subnet", on: "first", check: "address-interface", verdict: "warn", found: "card1 in the same subnet, strict rp_filter",
			make: `ip link add card1 type veth peer name card1p; ip addr add 10.66.0.91/24 dev card1 noprefixroute
ip link set card1 up; cat /proc/sys/net/ipv4/conf/all/rp_filter >/run/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter`,
			undo: `ip link del card1; cat /run/rp_filter >/proc/sys/net/ipv4/conf/all/rp_filter; rm /run/rp_filter`,
		},
		{
			name: "cloned machine-id", on: "second", check: "machine-id", verdict: "fail", found: ", as ",
			make: "cp /etc/machine-id /run/machine-id.kept; cat /run/clone >/etc/machine-id", undo: "mv /run/machine-id.kept /etc/machine-id; rm -f /run/clone",
		},
		{
			name: "noexec", on: "third", check: "mounts", verdict: "fail", found: "/var/lib/containerd noexec",
			make: "mount -o remount,bind,noexec /var/lib/containerd", undo: "mount -o remount,bind,exec /var/lib/containerd",
		},
		{
			name: "podman", on: "second", check: "cni-files", verdict: "fail", found: "/etc/cni/net.d/87-podman-bridge.conflist",
			make: `mkdir -p /etc/cni/net.d; echo '{"cniVersion": "0.4.0", "name": "podman", "plugins": [{"type": "bridge", "bridge": "cni-podman0"}]}' >/etc/cni/net.d/87-podman-bridge.conflist`,
			undo: "rm -r /etc/cni",
		},
		{
			name: "proxies", on: "third", check: "proxies", verdict: "warn", found: "HTTPS_PROXY in /etc/systemd/system.conf.d/proxy.conf",
			make: `mkdir -p /etc/systemd/system.conf.d; printf '[Manager]\nDefaultEnvironment="HTTPS_PROXY=http://192.0.2.1:3128"\n' >/etc/systemd/system.conf.d/proxy.conf`,
			undo: "rm -r /etc/systemd/system.conf.d",
		},
		{
			name: "loopback name", on: "first", check: "loopback-name", verdict: "warn", found: "cp-1",
			make: "echo 127.0.1.1 cp-1 >>/etc/hosts", undo: "grep -v ^127.0.1.1 /etc/hosts >/run/hosts; cat /run/hosts >/etc/hosts",
		},
	}},
	{"handled", []string{"--become-password-file", "PASSWORD"}, 0, 0, []condition{
		{
			name: "bastion", on: "first", ssh: "{proxyJump: root@THIRD}", check: "connection", verdict: "pass",
			make: "echo DenyUsers root@10.66.0.4 >/etc/ssh/sshd_config.d/bastion.conf; systemctl reload ssh", undo: "rm /etc/ssh/sshd_config.d/bastion.conf; systemctl reload ssh",
		},
		{
			name: "default route by the second card", on: "first", check: "default-route", verdict: "pass", found: "by card1",
			make: `ip route show default >/run/way; ip link add card1 type veth peer name card1p; ip addr add 10.67.0.91/24 dev card1
ip link set card1 up; ip link set card1p up; ip route replace default via 10.67.0.1`,
			undo: `ip link del card1; while read -r way; do ip route add $way; done </run/way; rm /run/way`,
		},
		{
			name: "cloud-init", on: "first", plan: "file /etc/cloud/cloud.cfg.d/99-offk8s.cfg",
			make: `mkdir -p /etc/cloud; printf 'manage_etc_hosts: true\npreserve_hostname: false\n' >/etc/cloud/cloud.cfg`, undo: "rm -r /etc/cloud",
		},
		{
			name: "no default route", on: "second", check: "default-route", verdict: "warn", found: "none", plan: "route 10.96.0.0/16",
			make: "ip route show default >/run/way; ip route flush default", undo: `while read -r way; do ip route add $way; done </run/way; rm /run/way`,
		},
		{
			name: "sudo with a password", on: "second", ssh: "{user: jdoe}", check: "connection", verdict: "pass",
			make: user + "jdoe ALL=(root) ALL\nEOF", undo: noUser,
		},
		{
			name: "umask", on: "second", make: "sed -i '1i umask 077' /home/jdoe/.bashrc; rm -rf /usr/local/lib/offk8s",
			after: `[ "$(stat -c %a /usr/local/lib/offk8s)" = 755 ]`,
		},
	}},
	{"SSH", nil, 6, -1, []condition{
		{
			name: "sudo asks for a password", on: "second", ssh: "{user: jdoe}", check: "connection", verdict: "fail", found: "sudo asks for a password",
			make: user + "jdoe ALL=(root) ALL\nEOF", undo: noUser,
		},
		{
			name: "requiretty", on: "third", ssh: "{user: jdoe}", check: "connection", verdict: "fail", found: "sudo wants a terminal",
			make: user + "Defaults:jdoe requiretty\njdoe ALL=(root) NOPASSWD: ALL\nEOF", undo: noUser,
		},
	}},
}

// conditions makes conditions on bare hosts that doctor has to recognize, or install has to
// handle; none of the hosts is changed.
func (r *road) conditions(t *testing.T) {
	hosts := r.three(t)
	id := run(t, time.Minute, r.ssh(hosts["first"].addr, "cat", "/etc/machine-id")...)
	r.on(t, hosts["second"], "echo '"+id+"' >/run/clone")
	for _, x := range rounds {
		if !t.Run(x.name, func(t *testing.T) { r.round(t, x, hosts) }) {
			return
		}
	}
	for _, h := range hosts {
		run(t, time.Minute, r.ssh(h.addr, unchanged)...)
	}
}

// three returns a control plane and two other hosts, which become workers.
func (r *road) three(t *testing.T) map[string]host {
	t.Helper()
	first, second := r.host(t, "cp-1"), r.host(t, "node-1")
	third := r.hosts[slices.IndexFunc(r.hosts, func(h host) bool { return h.name != first.name && h.name != second.name })]
	first.roles, second.roles, third.roles = []string{controlPlane, member}, []string{worker}, []string{worker}
	return map[string]host{"first": first, "second": second, "third": third}
}

// on runs a script as root on a host, whatever its SSH allows.
func (r *road) on(t *testing.T, h host, script string) {
	t.Helper()
	r.sh(t, "in", h.name, "sh", "-euc", script)
}

func (r *road) round(t *testing.T, x round, of map[string]host) {
	hosts := []host{of["first"], of["second"], of["third"]}
	for _, c := range x.conditions {
		h := of[c.on]
		r.on(t, h, c.make)
		if c.undo != "" {
			t.Cleanup(func() { r.on(t, h, c.undo) })
		}
		if c.ssh != "" {
			i := slices.IndexFunc(hosts, func(y host) bool { return y.name == h.name })
			hosts[i].ssh = strings.ReplaceAll(c.ssh, "THIRD", of["third"].addr)
		}
	}
	file, pass := filepath.Join(r.work, "conditions.yaml"), filepath.Join(r.work, "sudo-password")
	must(t, os.WriteFile(pass, []byte("battery staple\n"), 0o600))
	r.fill(t, file, hosts, "", "")
	offk8s := func(stderr io.Writer, code int, args ...string) string {
		if args[0] != "doctor" { // needs no state
			args = append(args, "--state", filepath.Join(r.work, "conditions-state"))
		}
		args = append(append(args, "-f", file, "--key", r.pub()), replace(x.doctor, "PASSWORD", pass)...)
		out, err := tryTo(t, 5*time.Minute, stderr, in("operator", append([]string{r.bin}, args...)...)...)
		if got := exitCode(err); got != code {
			t.Errorf("%s: exit %d, want %d: %v\n%s", args[0], got, code, err, out)
		}
		return out
	}
	var report struct {
		Checks []struct{ Name, Host, Verdict, Found string }
	}
	out := offk8s(os.Stderr, x.code, "doctor", "--format", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("doctor: %v\n%s", err, out)
	}
	var plan strings.Builder
	if x.plan >= 0 {
		plan.WriteString(offk8s(io.MultiWriter(os.Stderr, &plan), x.plan, "install", "--dry-run"))
	}
	for _, c := range x.conditions {
		t.Run(c.name, func(t *testing.T) {
			name := of[c.on].name
			recognized := false
			for _, k := range report.Checks {
				if k.Name == c.check && k.Host == name {
					recognized = k.Verdict == c.verdict && strings.Contains(k.Found, c.found)
					t.Logf("%s %s on %s: found %s", k.Verdict, k.Name, k.Host, k.Found)
				}
			}
			if c.check != "" && !recognized {
				t.Errorf("doctor on %s: no %s of %q with %q:\n%s", name, c.verdict, c.check, c.found, out)
			}
			if want := c.check + ": found "; c.verdict == "fail" && x.plan > 0 && !strings.Contains(plan.String(), want) {
				t.Errorf("install does not refuse %q:\n%s", want, plan.String())
			}
			if !strings.Contains(plan.String(), c.plan) {
				t.Errorf("the plan does not have %q:\n%s", c.plan, plan.String())
			}
			if c.after != "" {
				r.on(t, of[c.on], c.after)
			}
		})
	}
}
