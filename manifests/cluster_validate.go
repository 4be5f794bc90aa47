package manifests

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// skippable are the groups of steps that hostPreparation.skip may name.
var skippable = []string{"hostname", "hosts", "swap", "modules", "sysctl", "firewall", "selinux"}

// Validate returns the problems in the values of c. The installer checks whether
// it supports the topology.
func (c *Cluster) Validate() []strict.Problem {
	ck := &strict.Checks{}
	ck.Match("name", c.Name, strict.IsDNSLabel, "lower case letters, digits and dashes")
	if c.Kubernetes != "" {
		if _, err := catalog.ParseVersion(c.Kubernetes); err != nil {
			ck.Add("kubernetes", "%v", err)
		}
	}
	c.Mirror.validate(ck)
	c.SSH.validate(ck, "ssh")
	if c.SSH.Address != "" {
		ck.Add("ssh.address", "every host has its own, write hosts[].ssh.address")
	}
	c.validateHosts(ck)
	c.validateTopology(ck)
	c.validateNetwork(ck)
	if e := c.ControlPlane.Endpoint; e != "" {
		ck.Match("controlPlane.endpoint", e, isHostPort, "host:port")
	}
	ck.Each("controlPlane.sans", c.ControlPlane.SANs, func(p, s string) { ck.Match(p, s, isHost, "a DNS name or an address") })
	for p, d := range c.components() {
		for _, k := range slices.Sorted(maps.Keys(d.Args)) {
			ck.Flag(strict.JoinPath(p+".args", k), k, d.Args[k])
		}
	}
	c.validateOwned(ck)
	if !isPortRange(c.NodePorts()) {
		ck.Add("apiServer.args.service-node-port-range", "found %q, want the form %s", c.NodePorts(), defaultNodePorts)
	}
	if d := c.Runtime.CgroupDriver; d != "" {
		ck.Among("runtime.cgroupDriver", d, "systemd", "cgroupfs")
	}
	c.Time.validate(ck)
	c.HostPrep.validate(ck)
	return ck.Problems
}

func (m ClusterMirror) validate(ck *strict.Checks) {
	if m.CAFingerprint != "" {
		ck.Match("mirror.caFingerprint", m.CAFingerprint, fingerprint.MatchString, "sha256: and 64 hexadecimal digits, as serve prints it")
	}
	if m.URL == "" {
		return // --mirror may set it
	}
	u, err := url.Parse(m.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !isHost(u.Hostname()):
		ck.Add("mirror.url", "found %q, want the form https://dmz:8443", m.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		ck.Add("mirror.url", "%q: want scheme, host and port alone", u.Redacted())
	case u.Scheme == "http" && m.CAFingerprint != "":
		ck.Add("mirror.caFingerprint", "does nothing for an http mirror")
	}
}

func (s SSH) validate(ck *strict.Checks, p string) {
	if s.Address != "" {
		ck.Match(p+".address", s.Address, isHost, "a DNS name or an address")
	}
	if s.Port < 0 || s.Port > 65535 {
		ck.Add(p+".port", "found %d, want 1 to 65535", s.Port)
	}
	if s.User != "" {
		ck.Match(p+".user", s.User, userName.MatchString, "the name of a user")
	}
	if s.HostKey != "" {
		ck.Match(p+".hostKey", s.HostKey, sshKeyPrint.MatchString, "SHA256:… as ssh-keygen -l prints it")
	}
	for k, f := range map[string]string{"keyFile": s.KeyFile, "knownHosts": s.KnownHosts} {
		ck.OneLine(p+"."+k, f)
		if strings.HasPrefix(f, "-") {
			ck.Add(p+"."+k, "%q: want the path of a file", f)
		}
	}
}

func (c *Cluster) validateHosts(ck *strict.Checks) {
	if len(c.Hosts) == 0 {
		ck.Add("hosts", "none given")
	}
	names, addresses, local := map[string]int{}, map[netip.Addr]int{}, -1
	for i, h := range c.Hosts {
		p := fmt.Sprintf("hosts[%d]", i)
		if !strict.IsDNSName(h.Name) || h.Name == "localhost" {
			ck.Add(p+".name", "found %q, want an RFC 1123 name in lower case", h.Name)
		} else if j, dup := names[h.Name]; dup {
			ck.Add(p+".name", "%q is already hosts[%d]", h.Name, j)
		}
		names[h.Name] = i
		a, err := netip.ParseAddr(h.Address)
		switch a = a.Unmap(); {
		case err != nil || a.Zone() != "" || !a.IsGlobalUnicast():
			ck.Add(p+".address", "found %q, want an IP address that the other hosts reach", h.Address)
		default:
			if j, dup := addresses[a]; dup {
				ck.Add(p+".address", "%q is already that of hosts[%d]", h.Address, j)
			}
			addresses[a] = i
		}
		if h.Local && local >= 0 {
			ck.Add(p+".local", "hosts[%d] is the local one already", local)
		} else if h.Local {
			local = i
		}
		h.validate(ck, p)
	}
}

func (h Host) validate(ck *strict.Checks, p string) {
	if len(h.Roles) == 0 {
		ck.Add(p+".roles", "none given")
	}
	roles := make([]string, len(h.Roles))
	for i, r := range h.Roles {
		roles[i] = string(r)
	}
	ck.Each(p+".roles", roles, func(p, s string) {
		ck.Among(p, s, string(RoleControlPlane), string(RoleEtcd), string(RoleWorker), string(RoleLoadBalancer))
	})
	h.SSH.validate(ck, p+".ssh")
	for _, k := range slices.Sorted(maps.Keys(h.Labels)) {
		at := strict.JoinPath(p+".labels", k)
		ck.Match(at, k, strict.IsLabelKey, "a label key such as example.com/rack")
		ck.Match(at, h.Labels[k], strict.IsLabelValue, "a label value of at most 63 letters, digits, dashes, dots and underscores")
	}
	ck.Each(p+".taints", h.Taints, func(p, s string) { ck.Match(p, s, isTaint, "key=value:NoSchedule, PreferNoSchedule or NoExecute") })
}

func (c *Cluster) validateTopology(ck *strict.Checks) {
	if len(c.Hosts) == 0 {
		return
	}
	if len(c.HostsWith(RoleControlPlane)) == 0 {
		ck.Add("hosts", "no host has the role %q", RoleControlPlane)
	}
	if n := len(c.HostsWith(RoleEtcd)); n != 1 && n != 3 && n != 5 {
		ck.Add("hosts", "%d hosts have the role %q, want 1, 3 or 5", n, RoleEtcd)
	}
	if len(c.HostsWith(RoleWorker)) == 0 {
		ck.Add("hosts", "no host has the role %q", RoleWorker)
	}
}

func (c *Cluster) validateNetwork(ck *strict.Checks) {
	if m := c.Network.ProxyMode; m != "" {
		ck.Among("network.proxyMode", m, "iptables", "ipvs", "nftables")
	}
	if d := c.Network.DNSDomain; d != "" {
		ck.Match("network.dnsDomain", d, strict.IsDNSName, "a DNS domain")
	}
	pods, okPods := checkCIDR(ck, "network.podCIDR", c.PodCIDR())
	services, okServices := checkCIDR(ck, "network.serviceCIDR", c.ServiceCIDR())
	if okPods {
		c.hostsOutside(ck, "pod", pods)
		c.podRoom(ck, pods)
	}
	if okServices {
		c.hostsOutside(ck, "service", services)
		// The API server takes ranges of at most 20 bits; address 10 is DNS.
		if free := services.Addr().BitLen() - services.Bits(); free > 20 || free < 4 {
			ck.Add("network.serviceCIDR", "%s: want 4 to 20 bits of addresses, such as a /16", services)
		}
	}
	if !okPods || !okServices {
		return
	}
	if pods.Addr().Is4() != services.Addr().Is4() {
		ck.Add("network.serviceCIDR", "%s and the pods' %s are of different address families", services, pods)
	}
	if pods.Overlaps(services) {
		ck.Add("network.serviceCIDR", "%s overlaps the pods' %s", services, pods)
	}
}

func checkCIDR(ck *strict.Checks, path, s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		ck.Add(path, "found %q, want a range such as 10.244.0.0/16", s)
		return p, false
	}
	if p != p.Masked() {
		ck.Add(path, "%s has bits beyond its mask, want %s", s, p.Masked())
	}
	return p.Masked(), true
}

// hostsOutside checks that no address of a host is in a range of the cluster.
func (c *Cluster) hostsOutside(ck *strict.Checks, what string, p netip.Prefix) {
	for i, h := range c.Hosts {
		if a, err := netip.ParseAddr(h.Address); err == nil && p.Contains(a.Unmap()) {
			ck.Add(fmt.Sprintf("hosts[%d].address", i), "%s is in the %s range %s", h.Address, what, p)
		}
	}
}

// podRoom checks that every node gets its /24 (IPv4) of the pod range.
func (c *Cluster) podRoom(ck *strict.Checks, p netip.Prefix) {
	if !p.Addr().Is4() {
		return
	}
	if n := len(c.Nodes()); p.Bits() > 24 || n > 1<<(24-p.Bits()) {
		ck.Add("network.podCIDR", "%s has no /24 for each of %d nodes", p, n)
	}
}

func (t Time) validate(ck *strict.Checks) {
	ck.Each("time.servers", t.Servers, func(p, s string) { ck.Match(p, s, isHost, "a DNS name or an address") })
	for i, a := range t.Args {
		ck.Match(fmt.Sprintf("time.args[%d]", i), a, plainWord.MatchString, "one argument without spaces or quotes")
	}
	if t.MaxSkew != "" {
		if d, err := time.ParseDuration(t.MaxSkew); err != nil || d <= 0 {
			ck.Add("time.maxSkew", "found %q, want a duration such as 60s", t.MaxSkew)
		}
	}
}

func (h HostPrep) validate(ck *strict.Checks) {
	ck.Sysctls("hostPreparation.sysctls", h.Sysctls)
	for _, k := range ownedSysctls {
		if v, set := h.Sysctls[k]; set && strings.TrimSpace(v) != "1" {
			ck.Add(strict.JoinPath("hostPreparation.sysctls", k), "found %q, want 1: the host forwards packets between pods", v)
		}
	}
	ck.Each("hostPreparation.skip", h.Skip, func(p, s string) {
		if !slices.Contains(skippable, s) {
			ck.Add(p, "found %q, want one of %s", s, strings.Join(skippable, ", "))
		}
	})
	ck.Each("hostPreparation.ignorePreflight", h.IgnorePreflight, func(p, s string) {
		ck.Match(p, s, strict.IsName, "the name of a check")
	})
}

// Grammars of values from cluster.yaml and pack.yaml. They are narrow, since the
// values end up in unit files, hosts files, certificates and command lines,
// where a crafted one could inject settings or commands.
var (
	taintForm   = regexp.MustCompile(`^([^=:]+)(=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,31}$`)
	fingerprint = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	sshKeyPrint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)
	plainWord   = regexp.MustCompile(`^[A-Za-z0-9_./:=,+@-]+$`)
	fileName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)
)

// isHost reports a DNS name or an IP address without a zone.
func isHost(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" || strict.IsDNSName(s)
}

// isHostPort reports host:port.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == port && isHost(host)
}

// isPortRange reports a range of ports such as 30000-32767.
func isPortRange(s string) bool {
	low, high, ok := strings.Cut(s, "-")
	from, err := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	return ok && err == nil && err2 == nil && 0 < from && from <= to
}

// isTaint reports key=value:Effect or key:Effect.
func isTaint(s string) bool {
	m := taintForm.FindStringSubmatch(s)
	return m != nil && strict.IsLabelKey(m[1]) && strict.IsLabelValue(m[3])
}
