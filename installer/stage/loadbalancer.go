package stage

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Files and units of the balancers. The packages create the directories, except that of
// the script.
const (
	haproxyDir  = "/etc/haproxy"
	haproxyCfg  = haproxyDir + "/haproxy.cfg"
	haproxyCA   = haproxyDir + "/offk8s-ca.crt"
	haproxyPEM  = haproxyDir + "/offk8s-health.pem"
	haproxyUnit = "haproxy.service"

	keepalivedDir    = "/etc/keepalived"
	keepalivedCfg    = keepalivedDir + "/keepalived.conf"
	keepalivedSecret = keepalivedDir + "/offk8s-vrrp.conf"
	// SELinux lets keepalived run scripts of this directory.
	keepalivedScript = "/usr/libexec/keepalived/offk8s-alive"
	keepalivedUnit   = "keepalived.service"

	alivePort = manifests.BalancerAlivePort
	// apiName is a name in the certificate of every API server.
	apiName = "kubernetes"
)

// balancers returns the hosts that balance the load, in the order of their turn: those
// that do not run come first, and the one that has the VIP comes last.
func balancers(in Input) []manifests.Host {
	vip, ok := in.vip()
	if !ok {
		return nil
	}
	turn := func(h manifests.Host) int {
		_, active := in.Facts[h.Name].Interface(vip.String())
		switch {
		case active:
			return 2
		case in.runs(h, in.Cluster.BalancerPort()):
			return 1
		}
		return 0
	}
	out := in.Cluster.HostsWith(manifests.RoleLoadBalancer)
	slices.SortStableFunc(out, func(a, b manifests.Host) int { return turn(a) - turn(b) })
	return out
}

func balancersAtATime(in Input) int {
	if in.anyRuns(balancers(in), in.Cluster.BalancerPort()) {
		return 1
	}
	return 0
}

// balancerBefore requires another balancer that serves the API before one that runs is
// changed.
func balancerBefore(in Input, h manifests.Host) []Gate {
	if !in.runs(h, in.Cluster.BalancerPort()) {
		return nil
	}
	rest := slices.DeleteFunc(in.present(balancers(in)), func(x manifests.Host) bool { return x.Name == h.Name })
	slices.Reverse(rest) // those that run already are likely to serve
	if in.Alone.Host != "" && len(rest) > 0 {
		return gate([]string{h.Name}, "gate/other-balancer", balancerServes(in, addressesOf(rest)...))
	}
	return gate(hostNames(rest), "gate/other-balancer", balancerServes(in, "127.0.0.1"))
}

// balancerAfter requires that the balancer serves the API, unless there is none yet.
func balancerAfter(in Input, h manifests.Host) []Gate {
	if !in.anyRuns(leaders(in), manifests.DefaultAPIPort) {
		return nil
	}
	return gate([]string{h.Name}, "gate/balancer", balancerServes(in, "127.0.0.1"))
}

// balancerServes waits until the balancer at one of the addresses connects to an API
// server that is ready.
func balancerServes(in Input, addresses ...string) *step.Wait {
	var urls []string
	for _, a := range addresses {
		urls = append(urls, "https://"+net.JoinHostPort(a, in.Cluster.BalancerPort())+"/readyz")
	}
	return &step.Wait{
		URL: urls[0], Or: urls[1:], ServerName: apiName,
		CAFile: haproxyCA, CertFile: haproxyPEM, KeyFile: haproxyPEM,
		Timeout: step.Duration(time.Minute), Text: "the API answers through the balancer",
	}
}

// loadBalancerSteps returns the steps that start haproxy and keepalived. They do not
// wait for API servers, which come later in a first installation.
func loadBalancerSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "loadbalancer"}
	vip, ok := in.vip()
	if !ok || !h.HasRole(manifests.RoleLoadBalancer) {
		return l.done()
	}
	if !in.skips("selinux") {
		for _, name := range []string{"haproxy_connect_any", "keepalived_connect_any"} {
			l.add(name, &step.SELinuxBoolean{Name: name, Value: true}).Why = "the policy knows other ports only"
		}
	}
	l.secret(haproxyCA, pki.CARef(pki.Kubernetes))
	l.secret(haproxyPEM, pki.PEMRef(pki.Name("lb-health", h)))
	l.add("haproxy-config", &step.File{Path: haproxyCfg, Content: haproxyConfig(in)})
	l.dropIn(haproxyUnit, restarts)
	l.add("haproxy-unit", &step.Unit{
		Name: haproxyUnit, Package: "haproxy", Enable: true, Running: true, Reload: true,
		Triggers: []string{haproxyCfg, haproxyCA, haproxyPEM, dropInPath(haproxyUnit)},
	}).Why = "it connects nodes and users to an API server that is ready"
	l.add("haproxy-alive", &step.Wait{
		URL: "http://" + net.JoinHostPort("127.0.0.1", alivePort) + "/", Timeout: step.Duration(30 * time.Second), Text: "haproxy answers",
	})
	l.secret(keepalivedSecret, pki.RefVRRP)
	l.add("keepalived-script", &step.File{Path: keepalivedScript, Content: aliveScript, Mode: 0o755})
	l.add("keepalived-config", &step.File{Path: keepalivedCfg, Content: keepalivedConfig(in, h, vip)})
	l.dropIn(keepalivedUnit, restarts)
	l.add("keepalived-unit", &step.Unit{
		Name: keepalivedUnit, Package: "keepalived", Enable: true, Running: true, Reload: true,
		Triggers: []string{keepalivedCfg, keepalivedSecret, keepalivedScript, dropInPath(keepalivedUnit)},
	}).Why = "it moves the address " + vip.String() + " to a balancer that works"
	return l.done()
}

// haproxyConfig returns haproxy.cfg with directives that haproxy 1.5 to 3 support.
//
// A host that is down does not answer to connections: then it takes at most inter,
// three times the timeout connect and twice fastinter, 2.5 s, until no connection goes
// to it. An API server may take timeout check for its answer, so that a new leader of
// etcd, for which all of them wait, does not end all connections.
//
// There is no chroot, since /dev/log would not be in it.
func haproxyConfig(in Input) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Written by offk8s; changes are overwritten. Use cluster.yaml.
global
    log /dev/log daemon notice
    user haproxy
    group haproxy
    maxconn 8000

defaults
    mode tcp
    log global
    balance leastconn
    option redispatch
    retries 1
    option clitcpka
    option srvtcpka
    timeout connect 500ms
    timeout check 3s
    timeout queue 5s
    # Watches and kubectl exec can be silent for long.
    timeout client 4h
    timeout server 4h

frontend api
    bind :%s
    default_backend api

backend api
    option httpchk GET /readyz HTTP/1.0
    http-check expect status 200
`, in.Cluster.BalancerPort())
	for _, h := range leaders(in) {
		fmt.Fprintf(&b, "    server %s %s check check-ssl verify required verifyhost %s ca-file %s crt %s "+
			"inter 500ms fastinter 250ms downinter 1s fall 3 rise 2 on-marked-down shutdown-sessions\n",
			h.Name, net.JoinHostPort(h.Address, manifests.DefaultAPIPort), apiName, haproxyCA, haproxyPEM)
	}
	fmt.Fprintf(&b, `
# For keepalived.
listen alive
    bind 127.0.0.1:%s
    mode http
    timeout client 5s
    timeout server 5s
    monitor-uri /
`, alivePort)
	return b.String()
}

// aliveScript reports whether haproxy answers; one of three attempts is enough. Hosts
// have bash, but neither curl nor killall for certain.
const aliveScript = `#!/bin/bash
# Written by offk8s; changes are overwritten.
for _ in 1 2 3; do
    if exec 3<>/dev/tcp/127.0.0.1/` + alivePort + ` && printf 'GET / HTTP/1.0\r\n\r\n' >&3 &&
        read -r -t 1 line <&3 && [[ $line == *" 200 "* ]]; then
        exit 0
    fi
    sleep 0.2
done 2>/dev/null
exit 1
`

// restarts is the drop-in for units that some distributions do not start again after a
// crash.
const restarts = `# Written by offk8s; changes are overwritten.
[Service]
Restart=always
RestartSec=1
`

// dropIn adds the step for the drop-in of a unit.
func (l *list) dropIn(unit, content string) {
	l.add(unit+".d", &step.File{Path: dropInPath(unit), Content: content})
}

func dropInPath(unit string) string { return "/etc/systemd/system/" + unit + ".d/offk8s.conf" }

// keepalivedConfig returns keepalived.conf with keywords that keepalived 1.3 to 2.3
// support. A balancer that comes back leaves the address where it is (nopreempt). If
// the active one stops, the other takes over at once; if it disappears, after three
// missing advertisements, 3 to 4 s.
func keepalivedConfig(in Input, h manifests.Host, vip netip.Addr) string {
	all := in.Cluster.HostsWith(manifests.RoleLoadBalancer)
	priority := 250 - 10*slices.IndexFunc(all, func(x manifests.Host) bool { return x.Name == h.Name })
	var peers strings.Builder
	if len(all) > 1 {
		fmt.Fprintf(&peers, "    unicast_src_ip %s\n    unicast_peer {\n", h.Address)
		for _, x := range all {
			if x.Name != h.Name {
				fmt.Fprintf(&peers, "        %s\n", x.Address)
			}
		}
		peers.WriteString("    }\n")
	}
	iface, address := in.vipLink(h, vip)
	return fmt.Sprintf(`# Written by offk8s; changes are overwritten. Use cluster.yaml.
global_defs {
    router_id %s
    script_user root
    enable_script_security
}

vrrp_script alive {
    script "%s"
    interval 1
    timeout 3
    fall 1
    rise 2
}

vrrp_instance api {
    state BACKUP
    nopreempt
    interface %s
    virtual_router_id %d
    priority %d
    advert_int 1
%s    include %s
    virtual_ipaddress {
        %s
    }
    track_script {
        alive
    }
}
`, h.Name, keepalivedScript, iface, in.Cluster.VRRPID(), priority, peers.String(), keepalivedSecret,
		address)
}

// vipLink returns the interface that gets the VIP, and the VIP with its network's prefix
// length. A plan without facts assumes usual ones.
func (in Input) vipLink(h manifests.Host, vip netip.Addr) (string, netip.Prefix) {
	name, bits := cmp.Or(in.balancerInterface(h), "eth0"), 24
	for _, n := range networks(in.Facts[h.Name], name, vip) {
		if n.Contains(vip) {
			bits = n.Bits()
		}
	}
	return name, netip.PrefixFrom(vip, bits)
}

// endpoint adds the step that waits until the load balancer, of this cluster or an
// external one, leads the node to every API server.
func (l *list) endpoint(in Input) {
	mode := in.Cluster.Balancing()
	if mode != manifests.BalanceHosts && mode != manifests.BalanceExternal {
		return
	}
	e := &step.Endpoint{
		Address: in.Cluster.NodeEndpoint(), CAFile: kubeCA,
		// For a balancer that leads a host to the same server always.
		Any: slices.Contains(in.Cluster.HostPrep.IgnorePreflight, "endpoint"),
	}
	for _, h := range in.present(leaders(in)) {
		e.Servers = append(e.Servers, net.JoinHostPort(h.Address, manifests.DefaultAPIPort))
	}
	l.add("endpoint", e).Why = "kubelet and kube-proxy connect to the API through it"
}
