package manifests

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// skippable are the groups of steps that hostPreparation.skip may name.
var skippable = []string{"hostname", "hosts", "swap", "modules", "sysctl", "firewall", "selinux"}

// Validate returns what is wrong with a Cluster beside its types, by path.
// Which topologies can be installed is for the installer to say.
func (c *Cluster) Validate() []Problem {
	ck := &checks{}
	ck.match("name", c.Name, dnsLabel.MatchString, "lower case letters, digits and dashes")
	if c.Kubernetes != "" {
		if _, err := ParseVersion(c.Kubernetes); err != nil {
			ck.add("kubernetes", "%v", err)
		}
	}
	c.Mirror.validate(ck)
	c.SSH.validate(ck, "ssh")
	if c.SSH.Address != "" {
		ck.add("ssh.address", "every host has its own, write hosts[].ssh.address")
	}
	c.validateHosts(ck)
	c.validateTopology(ck)
	c.validateNetwork(ck)
	if e := c.ControlPlane.Endpoint; e != "" {
		ck.match("controlPlane.endpoint", e, isHostPort, "host:port")
	}
	ck.each("controlPlane.sans", c.ControlPlane.SANs, func(p, s string) { ck.match(p, s, isHost, "a DNS name or an address") })
	for p, d := range map[string]Component{
		"etcd": c.Etcd, "apiServer": c.APIServer, "controllerManager": c.ControllerManager,
		"scheduler": c.Scheduler, "kubelet": c.Kubelet, "proxy": c.Proxy,
	} {
		for _, k := range sortedKeys(d.Args) {
			ck.arg(joinPath(p+".args", k), k, d.Args[k])
		}
	}
	if d := c.Runtime.CgroupDriver; d != "" {
		ck.among("runtime.cgroupDriver", d, "systemd", "cgroupfs")
	}
	c.Time.validate(ck)
	c.HostPrep.validate(ck)
	return ck.problems
}

func (m ClusterMirror) validate(ck *checks) {
	if m.CAFingerprint != "" {
		ck.match("mirror.caFingerprint", m.CAFingerprint, fingerprint.MatchString, "sha256: and 64 hexadecimal digits, as serve prints it")
	}
	if m.URL == "" {
		return // may come from --mirror
	}
	u, err := url.Parse(m.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !isHost(u.Hostname()):
		ck.add("mirror.url", "found %q, want the form https://dmz:8443", m.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		ck.add("mirror.url", "%q: want scheme, host and port alone", u.Redacted())
	case u.Scheme == "http" && m.CAFingerprint != "":
		ck.add("mirror.caFingerprint", "does nothing for an http mirror")
	}
}

func (s SSH) validate(ck *checks, p string) {
	if s.Address != "" {
		ck.match(p+".address", s.Address, isHost, "a DNS name or an address")
	}
	if s.Port < 0 || s.Port > 65535 {
		ck.add(p+".port", "found %d, want 1 to 65535", s.Port)
	}
	if s.User != "" {
		ck.match(p+".user", s.User, userName.MatchString, "the name of a user")
	}
	if s.HostKey != "" {
		ck.match(p+".hostKey", s.HostKey, sshKeyPrint.MatchString, "SHA256:… as ssh-keygen -l prints it")
	}
	for k, f := range map[string]string{"keyFile": s.KeyFile, "knownHosts": s.KnownHosts} {
		ck.oneLine(p+"."+k, f)
		if strings.HasPrefix(f, "-") {
			ck.add(p+"."+k, "%q: want the path of a file", f)
		}
	}
}

func (c *Cluster) validateHosts(ck *checks) {
	if len(c.Hosts) == 0 {
		ck.add("hosts", "none given")
	}
	names, addresses, local := map[string]int{}, map[netip.Addr]int{}, -1
	for i, h := range c.Hosts {
		p := fmt.Sprintf("hosts[%d]", i)
		if !isDNSName(h.Name) || h.Name == "localhost" {
			ck.add(p+".name", "found %q, want an RFC 1123 name in lower case", h.Name)
		} else if j, dup := names[h.Name]; dup {
			ck.add(p+".name", "%q is already hosts[%d]", h.Name, j)
		}
		names[h.Name] = i
		a, err := netip.ParseAddr(h.Address)
		switch a = a.Unmap(); {
		case err != nil || a.Zone() != "" || !a.IsGlobalUnicast():
			ck.add(p+".address", "found %q, want an IP address that the other hosts reach", h.Address)
		default:
			if j, dup := addresses[a]; dup {
				ck.add(p+".address", "%q is already that of hosts[%d]", h.Address, j)
			}
			addresses[a] = i
		}
		if h.Local && local >= 0 {
			ck.add(p+".local", "hosts[%d] is the local one already", local)
		} else if h.Local {
			local = i
		}
		h.validate(ck, p)
	}
}

func (h Host) validate(ck *checks, p string) {
	if len(h.Roles) == 0 {
		ck.add(p+".roles", "none given")
	}
	roles := make([]string, len(h.Roles))
	for i, r := range h.Roles {
		roles[i] = string(r)
	}
	ck.each(p+".roles", roles, func(p, s string) {
		ck.among(p, s, string(RoleControlPlane), string(RoleEtcd), string(RoleWorker), string(RoleLoadBalancer))
	})
	h.SSH.validate(ck, p+".ssh")
	for _, k := range sortedKeys(h.Labels) {
		at := joinPath(p+".labels", k)
		ck.match(at, k, isLabelKey, "a label key such as example.com/rack")
		ck.match(at, h.Labels[k], isLabelValue, "a label value of at most 63 letters, digits, dashes, dots and underscores")
	}
	ck.each(p+".taints", h.Taints, func(p, s string) { ck.match(p, s, isTaint, "key=value:NoSchedule, PreferNoSchedule or NoExecute") })
}

func (c *Cluster) validateTopology(ck *checks) {
	if len(c.Hosts) == 0 {
		return
	}
	if len(c.HostsWith(RoleControlPlane)) == 0 {
		ck.add("hosts", "no host has the role %q", RoleControlPlane)
	}
	if n := len(c.HostsWith(RoleEtcd)); n != 1 && n != 3 && n != 5 {
		ck.add("hosts", "%d hosts have the role %q, want 1, 3 or 5", n, RoleEtcd)
	}
	if len(c.HostsWith(RoleWorker)) == 0 {
		ck.add("hosts", "no host has the role %q", RoleWorker)
	}
}

func (c *Cluster) validateNetwork(ck *checks) {
	if m := c.Network.ProxyMode; m != "" {
		ck.among("network.proxyMode", m, "iptables", "ipvs", "nftables")
	}
	if d := c.Network.DNSDomain; d != "" {
		ck.match("network.dnsDomain", d, isDNSName, "a DNS domain")
	}
	pods, okPods := ck.cidr("network.podCIDR", c.PodCIDR())
	services, okServices := ck.cidr("network.serviceCIDR", c.ServiceCIDR())
	if okPods {
		c.hostsOutside(ck, "pod", pods)
		c.podRoom(ck, pods)
	}
	if okServices {
		c.hostsOutside(ck, "service", services)
		// The API server takes ranges of at most 20 bits; address 10 is that of DNS.
		if free := services.Addr().BitLen() - services.Bits(); free > 20 || free < 4 {
			ck.add("network.serviceCIDR", "%s: want 4 to 20 bits of addresses, such as a /16", services)
		}
	}
	if !okPods || !okServices {
		return
	}
	if pods.Addr().Is4() != services.Addr().Is4() {
		ck.add("network.serviceCIDR", "%s and the pods' %s are of different address families", services, pods)
	}
	if pods.Overlaps(services) {
		ck.add("network.serviceCIDR", "%s overlaps the pods' %s", services, pods)
	}
}

func (ck *checks) cidr(path, s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		ck.add(path, "found %q, want a range such as 10.244.0.0/16", s)
		return p, false
	}
	if p != p.Masked() {
		ck.add(path, "%s has bits beyond its mask, want %s", s, p.Masked())
	}
	return p.Masked(), true
}

// hostsOutside checks that no address of a host is in a range of the cluster.
func (c *Cluster) hostsOutside(ck *checks, what string, p netip.Prefix) {
	for i, h := range c.Hosts {
		if a, err := netip.ParseAddr(h.Address); err == nil && p.Contains(a.Unmap()) {
			ck.add(fmt.Sprintf("hosts[%d].address", i), "%s is in the %s range %s", h.Address, what, p)
		}
	}
}

// podRoom checks that every node gets its /24 (IPv4) of the pod range.
func (c *Cluster) podRoom(ck *checks, p netip.Prefix) {
	if !p.Addr().Is4() {
		return
	}
	if n := len(c.Nodes()); p.Bits() > 24 || n > 1<<(24-p.Bits()) {
		ck.add("network.podCIDR", "%s has no /24 for each of %d nodes", p, n)
	}
}

func (t Time) validate(ck *checks) {
	ck.each("time.servers", t.Servers, func(p, s string) { ck.match(p, s, isHost, "a DNS name or an address") })
	for i, a := range t.Args {
		ck.match(fmt.Sprintf("time.args[%d]", i), a, plainWord.MatchString, "one argument without spaces or quotes")
	}
	if t.MaxSkew != "" {
		if d, err := time.ParseDuration(t.MaxSkew); err != nil || d <= 0 {
			ck.add("time.maxSkew", "found %q, want a duration such as 60s", t.MaxSkew)
		}
	}
}

func (h HostPrep) validate(ck *checks) {
	for _, k := range sortedKeys(h.Sysctls) {
		p := joinPath("hostPreparation.sysctls", k)
		ck.match(p, k, sysctlKey.MatchString, "a name such as net.ipv4.ip_forward")
		if strings.TrimSpace(h.Sysctls[k]) == "" {
			ck.add(p, "no value is given")
		}
		ck.oneLine(p, h.Sysctls[k])
	}
	ck.each("hostPreparation.skip", h.Skip, func(p, s string) {
		if !slices.Contains(skippable, s) {
			ck.add(p, "found %q, want one of %s", s, strings.Join(skippable, ", "))
		}
	})
	ck.each("hostPreparation.ignorePreflight", h.IgnorePreflight, func(p, s string) {
		ck.match(p, s, entryName.MatchString, "the name of a check")
	})
}
