//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Scripts that give the hosts of the plan "managed" other managers, before anything is
// installed. Only root at the console runs them.
const (
	// everyHost: services have a proxy that nobody answers at, logins a strict umask, root
	// works through sudo with a password.
	everyHost = `mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultEnvironment="HTTPS_PROXY=http://192.0.2.1:3128" "https_proxy=http://192.0.2.1:3128"\n' >/etc/systemd/system.conf.d/proxy.conf
systemctl daemon-reexec
echo umask 077 >/root/.bashrc
` + user + `jdoe ALL=(root) ALL
EOF
sed -i '1i umask 077' /home/jdoe/.bashrc
`
	// behindBastion: only another host logs in as jdoe.
	behindBastion = `echo DenyUsers jdoe@10.66.0.4 >/etc/ssh/sshd_config.d/bastion.conf; systemctl reload ssh
`
	// firewalldHost: the card with the host's address is not in the default zone, networkd runs,
	// and another card leads to the default route.
	firewalldHost = `systemctl enable -q --now firewalld
firewall-cmd -q --permanent --zone=work --change-interface=host0; firewall-cmd -q --zone=work --change-interface=host0
printf '[Match]\nName=host0\n[Network]\nAddress=10.66.0.11/24\nLinkLocalAddressing=no\n' >/etc/systemd/network/host0.network
systemctl enable -q systemd-networkd; systemctl disable -q systemd-networkd-wait-online; systemctl start systemd-networkd
systemctl enable -q --now unattended-upgrades
`
	// ufwHost: ufw lets SSH in alone, NetworkManager runs, and cloud-init gives the host another name
	// and writes /etc/hosts at each boot, as user-data and files want it.
	ufwHost = `ufw allow 22/tcp; ufw --force enable; systemctl enable -q ufw
systemctl enable -q --now NetworkManager
mkdir -p /var/lib/cloud/seed/nocloud
rm -f /etc/cloud/cloud.cfg.d/*
cat >/etc/cloud/cloud.cfg <<'EOF'
datasource_list: [NoCloud]
network: {config: disabled}
manage_etc_hosts: true
preserve_hostname: false
cloud_init_modules: [set_hostname, update_hostname, update_etc_hosts]
cloud_config_modules: []
cloud_final_modules: []
system_info: {distro: debian}
EOF
printf 'instance-id: lab\nlocal-hostname: vm-17\n' >/var/lib/cloud/seed/nocloud/meta-data
printf '#cloud-config\nmanage_etc_hosts: true\n' >/var/lib/cloud/seed/nocloud/user-data
systemctl enable -q cloud-init-local cloud-init
`
)

// managers gives the hosts other managers, which doctor recognizes, and notes their state.
func (r *road) managers(t *testing.T) {
	bastion := r.host(t, "cp-1")
	for i, h := range r.hosts {
		script := everyHost
		r.hosts[i].ssh = "{user: jdoe}"
		if h.name != bastion.name {
			script += behindBastion
			r.hosts[i].ssh = "{user: jdoe, proxyJump: jdoe@" + bastion.addr + "}"
		}
		switch h.name {
		case "cp-1":
			script += firewalldHost
		case "node-2":
			script += ufwHost
		}
		r.on(t, h, script)
	}
	r.powerCycle(t, r.host(t, "node-2")) // cloud-init has its first boot
	must(t, os.WriteFile(r.passwordFile(), []byte("battery staple\n"), 0o600))
	for _, h := range r.hosts {
		must(t, os.WriteFile(r.beforeFile(h), []byte(r.state1(t, h)), 0o600))
	}
	r.writeCluster(t)
	out := r.operator(t, 5*time.Minute, "doctor", "-f", r.clusterFile(), "--key", r.pub(), "--format", "json")
	var report struct {
		Checks []struct{ Name, Host, Verdict, Found string }
	}
	must(t, json.Unmarshal([]byte(out), &report))
	found := map[string]string{}
	for _, c := range report.Checks {
		found[c.Host+" "+c.Name] = c.Verdict + " " + c.Found
	}
	for check, want := range map[string]string{
		"cp-1 firewall": "pass firewalld", "cp-1 default-route": "pass by host1", "cp-1 automatic-updates": "warn unattended-upgrades",
		"node-1 default-route": "warn none", "node-1 proxies": "warn HTTPS_PROXY in ", "node-2 firewall": "pass ufw",
	} {
		if !strings.HasPrefix(found[check], want) {
			t.Errorf("doctor: %s: %q, want %q", check, found[check], want)
		}
	}
}

// passwordFile has the password for sudo.
func (r *road) passwordFile() string { return filepath.Join(r.work, "sudo-password") }

// powerCycle ends hosts, and what a power cut takes from the kernel, and boots them together:
// the boot of a member of etcd ends when there is a quorum.
func (r *road) powerCycle(t *testing.T, hosts ...host) {
	t.Helper()
	for _, h := range hosts {
		r.sh(t, "stop", h.name)
		// The network of a lab host outlives it.
		run(t, time.Minute, in(h.name, "sh", "-c", `nft flush ruleset; ip route flush 10.96.0.0/16; ip route flush root 10.244.0.0/16
for i in $(ip -o link | grep -oE '(cni0|flannel\.1|veth[0-9a-f]+)'); do ip link del $i; done; echo 0 >/proc/sys/net/ipv4/ip_forward`)...)
	}
	booted := make(chan error)
	for _, h := range hosts {
		go func() {
			_, err := try(t, 4*time.Minute, r.script, "start", h.name)
			booted <- err
		}()
	}
	for range hosts {
		if err := <-booted; err != nil {
			t.Error(err)
		}
	}
}

// beforeFile has the state of a host before the installation.
func (r *road) beforeFile(h host) string { return filepath.Join(r.work, "before-"+h.name) }

// state1 returns what the managers of a host have, and what they do.
func (r *road) state1(t *testing.T, h host) string {
	t.Helper()
	return r.sh(t, "in", h.name, "sh", "-c", `hostname; ip -4 -br addr | grep -v '^lo '; ip route
for d in /etc/hosts /etc/hostname /etc/machine-id /etc/fstab /etc/resolv.conf /etc/environment /etc/sysctl.d /etc/modules-load.d /etc/NetworkManager \
  /etc/systemd /etc/cloud /etc/ssh /etc/sudoers.d /etc/apt/apt.conf.d /root/.bashrc; do
  [ ! -e $d ] || find $d \( -type f -o -type l \) -exec sh -c 'for f; do stat -c "%a %U %N" "$f"; [ -h "$f" ] || sha256sum "$f"; done' - {} + | sort -k 2
done
for u in firewalld ufw NetworkManager systemd-networkd cloud-init unattended-upgrades; do echo "$u $(systemctl is-enabled $u 2>/dev/null) $(systemctl is-active $u)"; done
if systemctl -q is-active firewalld; then firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones; fi
command -v ufw >/dev/null && ufw status numbered
true`)
}

// reboot: all hosts lose power at once and come back, with the cluster and with what the
// managers did meanwhile.
func (r *road) reboot(t *testing.T) {
	r.powerCycle(t, r.hosts...)
	r.cluster(t)
	r.network(t)
	for host, script := range map[string]string{
		"cp-1": `[ "$(firewall-cmd --get-zone-of-interface=host0)" = work ]; firewall-cmd --zone=work --list-rich-rules | grep -q 2379-2380
[ -z "$(firewall-cmd --zone=public --list-rich-rules)$(firewall-cmd --zone=public --list-ports)" ]`,
		"node-2": `ufw status | grep -q 10250; [ "$(hostname)" = node-2 ]; grep -q '^10.66.0.11 cp-1' /etc/hosts; grep -q '^127.0.1.1 ' /etc/hosts
nmcli -g GENERAL.STATE device show flannel.1 | grep -q unmanaged`,
	} {
		r.on(t, r.host(t, host), script)
	}
	for _, h := range r.nodes() {
		r.on(t, h, `[ "$(stat -c %a /usr/local/bin/.offk8s /opt/cni/bin /etc/cni/net.d | sort -u)" = 755 ]; tr '\0' '\n' <"/proc/$(pidof -s kubelet)/environ" | grep -qx HTTPS_PROXY=`)
	}
	r.secondRun(t)
}

// left: after reset the managers have what they had, and only packages are left.
func (r *road) left(t *testing.T) {
	for _, h := range r.hosts {
		before, err := os.ReadFile(r.beforeFile(h))
		must(t, err)
		was, is := map[string]bool{}, map[string]bool{}
		for l := range strings.Lines(string(before)) {
			was[l] = true
		}
		var diff strings.Builder
		for l := range strings.Lines(r.state1(t, h)) {
			is[l] = true
			if !was[l] && !strings.Contains(l, "chrony") { // a package, which stays
				fmt.Fprintf(&diff, "+ %s", l)
			}
		}
		for l := range was {
			if !is[l] {
				fmt.Fprintf(&diff, "- %s", l)
			}
		}
		if diff.Len() > 0 {
			t.Errorf("%s differs after reset:\n%s", h.name, diff.String())
		}
	}
}
