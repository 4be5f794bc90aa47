package manifests

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// skippable are the groups of steps that hostPreparation.skip may name.
var skippable = []string{"hostname", "hosts", "swap", "modules", "sysctl", "firewall", "selinux", "managers"}

// Validate returns the problems in the values of c: all that can be known without
// the bundle and the hosts.
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
	ck.Each("controlPlane.sans", c.ControlPlane.SANs, func(p, s string) { ck.Match(p, s, IsSAN, "a DNS name in lower case, *.NAME or an address") })
	for p, d := range c.components() {
		for _, k := range slices.Sorted(maps.Keys(d.Args)) {
			ck.Flag(strict.JoinPath(p+".args", k), k, d.Args[k])
		}
	}
	c.validateOwned(ck)
	if !isPortRange(c.NodePorts()) {
		ck.Add("apiServer.args.service-node-port-range", "found %q, want the form %s", c.NodePorts(), defaultNodePorts)
	}
	ck.Each("addons", c.Addons, func(p, s string) { ck.Match(p, s, strict.IsName, "the name of an addon of the bundle") })
	if n := c.Runtime.Name; n != "" {
		ck.Among("runtime.name", n, catalog.Runtimes...)
	}
	if d := c.Runtime.CgroupDriver; d != "" {
		ck.Among("runtime.cgroupDriver", d, "systemd", "cgroupfs")
	}
	c.Time.validate(ck)
	c.HostPrep.validate(ck, c.ownedSysctls())
	return ck.Problems
}

func (m ClusterMirror) validate(ck *strict.Checks) {
	if f := m.CAFingerprint; f != "" && !fingerprint.MatchString(f) {
		hint := ""
		if near := "sha256:" + fingerprintDigits(f); fingerprint.MatchString(near) {
			hint = "write " + near
		}
		ck.AddHint("mirror.caFingerprint", hint, "found %q, want sha256: and 64 hexadecimal digits, as serve prints it", f)
	}
	if m.URL != "" && len(m.URLs) > 0 {
		ck.Add("mirror.urls", "found mirror.url too, want one of them")
	}
	seen := map[string]bool{}
	for p, raw := range m.named() { // none: --mirror may set it
		u, err := url.Parse(raw)
		switch {
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !isHost(u.Hostname()):
			ck.Add(p, "found %q, want the form https://dmz:8443", raw)
		case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
			ck.Add(p, "%q: want scheme, host and port alone", u.Redacted())
		case seen[u.Host]:
			ck.Add(p, "found %q twice", u.Host)
		case u.Scheme == "http" && m.CAFingerprint != "":
			ck.Add("mirror.caFingerprint", "does nothing for an http mirror: remove it, or use https")
		}
		if err == nil {
			seen[u.Host] = true
		}
	}
}

// fingerprintDigits returns the digits of a fingerprint in the form of openssl,
// "SHA256 Fingerprint=AB:CD:…", or without its prefix.
func fingerprintDigits(s string) string {
	s = strings.ToLower(strings.TrimSpace(s[strings.LastIndexByte(s, '=')+1:]))
	return strings.NewReplacer(":", "", " ", "").Replace(strings.TrimPrefix(s, "sha256:"))
}

func (s SSH) validate(ck *strict.Checks, p string) {
	if s.Address != "" {
		ck.Match(p+".address", s.Address, isHost, "a DNS name or an address")
	}
	if s.Port < 0 || s.Port > 65535 {
		ck.Add(p+".port", "found %d, want 1 to 65535", s.Port)
	}
	if s.User != "" {
		ck.Match(p+".user", s.User, isUser, `the name of a user, such as root, jdoe@corp.example.com or CORP\jdoe`)
	}
	if s.HostKey != "" {
		ck.Match(p+".hostKey", s.HostKey, sshKeyPrint.MatchString, "SHA256:… as ssh-keygen -l prints it")
	}
	if s.ProxyJump != "" && s.ProxyJump != "none" {
		for hop := range strings.SplitSeq(s.ProxyJump, ",") {
			ck.Match(p+".proxyJump", hop, isJump, "bastions as user@host:port with commas between them, or none")
		}
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
		if n := len(h.Name); n > strict.MaxNodeName {
			ck.Add(p+".name", "%q has %d characters, want an RFC 1123 name of at most %d", h.Name, n, strict.MaxNodeName)
		} else if !strict.IsNodeName(h.Name) {
			ck.AddHint(p+".name", nodeNameHint(h.Name), "found %q, want an RFC 1123 name: lower case letters, digits, dashes and dots", h.Name)
		} else if j, dup := names[h.Name]; dup {
			ck.Add(p+".name", "%q is already hosts[%d]", h.Name, j)
		}
		names[h.Name] = i
		if a, ok := checkAddress(ck, p+".address", h.Address); ok {
			if j, dup := addresses[a]; dup {
				ck.Add(p+".address", "%q is already that of hosts[%d]", h.Address, j)
			}
			addresses[a] = i
		}
		c.validateSecond(ck, p, h, i, addresses)
		if h.Local && local >= 0 {
			ck.Add(p+".local", "hosts[%d] is the local one already", local)
		} else if h.Local {
			local = i
		}
		h.validate(ck, p)
	}
}

// nodeNameHint suggests the name of a host that is almost the name s, "" if there is none:
// copies from documents have long dashes and typographic quotes.
func nodeNameHint(s string) string {
	name := strings.ToLower(strings.NewReplacer("_", "-", " ", "-", "–", "-", "—", "-", "“", "", "”", "").Replace(strings.TrimSpace(s)))
	if !strict.IsNodeName(name) {
		return ""
	}
	return "write " + name
}

// addressHint returns the address that s may mean, "" if there is none.
func addressHint(s string) string {
	inside, bracket := strings.CutPrefix(s, "[")
	if _, err := netip.ParseAddr(strings.TrimSuffix(inside, "]")); bracket && err == nil {
		return "write it without brackets"
	}
	if strings.Contains(s, "/") {
		return "write it without the prefix length"
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return "write the port of SSH as ssh.port"
	}
	return ""
}

// checkAddress checks the address of a host. The second result reports whether it
// can be used for more checks.
func checkAddress(ck *strict.Checks, path, s string) (netip.Addr, bool) {
	const want = "want an IP address that the other hosts reach"
	a, err := netip.ParseAddr(s)
	switch a = a.Unmap(); {
	case err != nil && strict.IsDNSName(s):
		ck.Add(path, "found the host name %q, %s", s, want)
	case err != nil:
		ck.AddHint(path, addressHint(s), "found %q, %s", s, want)
	case a.Zone() != "" || !a.IsGlobalUnicast():
		ck.Add(path, "found %q, %s", s, want)
	case a.String() != s:
		// Programs print addresses in this form, and steps look for it.
		ck.Add(path, "found %q, want the form %s", s, a)
		return a, true
	default:
		return a, true
	}
	return a, false
}

// otherWords are roles by the words that other tools use.
var otherWords = map[string]Role{
	"master": RoleControlPlane, "controlplane": RoleControlPlane, "controller": RoleControlPlane, "server": RoleControlPlane,
	"loadbalancer": RoleLoadBalancer, "lb": RoleLoadBalancer, "balancer": RoleLoadBalancer, "haproxy": RoleLoadBalancer,
	"node": RoleWorker, "agent": RoleWorker, "minion": RoleWorker, "compute": RoleWorker,
}

func checkRole(ck *strict.Checks, path, s string) {
	ck.Among(path, s, string(RoleControlPlane), string(RoleEtcd), string(RoleWorker), string(RoleLoadBalancer))
	word := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
	if r, ok := otherWords[word]; ok && s != string(r) {
		ck.Problems[len(ck.Problems)-1].Hint = strict.DidYouMean(string(r))
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
	ck.Each(p+".roles", roles, func(p, s string) { checkRole(ck, p, s) })
	h.SSH.validate(ck, p+".ssh")
	for _, k := range slices.Sorted(maps.Keys(h.Labels)) {
		at := strict.JoinPath(p+".labels", k)
		ck.Match(at, k, strict.IsLabelKey, "a label key such as example.com/rack")
		ck.Match(at, h.Labels[k], strict.IsLabelValue, "a label value of at most 63 letters, digits, dashes, dots and underscores")
	}
	ck.Each(p+".taints", h.Taints, func(p, s string) { ck.Match(p, s, isTaint, "key=value:NoSchedule, PreferNoSchedule or NoExecute") })
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

func (h HostPrep) validate(ck *strict.Checks, owned []string) {
	ck.Sysctls("hostPreparation.sysctls", h.Sysctls)
	for k, v := range h.Sysctls {
		if slices.Contains(owned, strings.ReplaceAll(k, "/", ".")) && strings.TrimSpace(v) != "1" {
			ck.Add(strict.JoinPath("hostPreparation.sysctls", k), "found %q, want 1: the host forwards packets between pods", v)
		}
	}
	ck.Each("hostPreparation.skip", h.Skip, func(p, s string) {
		ck.Among(p, s, skippable...)
	})
	ck.Each("hostPreparation.ignorePreflight", h.IgnorePreflight, func(p, s string) {
		ck.Match(p, s, strict.IsName, "the name of a check")
	})
}

// Grammars of values from cluster.yaml and pack.yaml. They are narrow, since the
// values end up in unit files, hosts files, certificates and command lines,
// where a crafted one could inject settings or commands.
var (
	taintForm   = strict.NewPattern(`^([^=:]+)(=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$`)
	userName    = strict.NewPattern(`^([A-Za-z0-9][A-Za-z0-9.-]*\\)?[A-Za-z0-9_][A-Za-z0-9_.-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?$`)
	fingerprint = strict.NewPattern(`^sha256:[0-9a-f]{64}$`)
	sshKeyPrint = strict.NewPattern(`^SHA256:[A-Za-z0-9+/]{43}$`)
	plainWord   = strict.NewPattern(`^[A-Za-z0-9_./:=,+@-]+$`)
	fileName    = strict.NewPattern(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)
)

// isHost reports a DNS name or an IP address without a zone.
func isHost(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" || strict.IsDNSName(s)
}

// isJump reports a bastion as ssh_config(5) writes it: [user@]host[:port].
func isJump(s string) bool {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if !isUser(s[:i]) {
			return false
		}
		s = s[i+1:]
	}
	if host, port, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		return err == nil && n > 0 && isHost(host)
	}
	return isHost(s)
}

// isUser reports the name of a user as a host or a directory has it: jdoe,
// jdoe@corp.example.com or CORP\jdoe.
func isUser(s string) bool { return len(s) <= 256 && userName.MatchString(s) }

// IsSAN reports a name for a certificate, as kubeadm takes it: a DNS name, also
// with the wildcard * as its first label, or an IP address.
func IsSAN(s string) bool {
	name, wildcard := strings.CutPrefix(s, "*.")
	return isHost(s) || wildcard && strict.IsDNSName(name)
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
