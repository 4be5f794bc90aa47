package manifests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/manifests/catalog"
)

func sampleCluster(t testing.TB) *Cluster {
	t.Helper()
	c, err := LoadCluster("c.yaml", []byte(goodCluster))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hostile are values that would mean something else to a shell, a unit file, a
// hosts file or a certificate.
var hostile = []string{
	"$(touch x)", "`id`", "a;b", "a b", "a\tb", "a\nb", "a\rb", "a'b", `a"b`, "a|b", "a&b", "a>b", "*", "../x",
	"-oProxyCommand=x", "a\x00b", "a\u2028b", "ä", "A%n", "${HOME}", "#", "",
}

func TestT41ClusterRefusesInjection(t *testing.T) {
	fields := map[string]func(c *Cluster, v string){
		"name":                             func(c *Cluster, v string) { c.Name = v },
		"hosts[0].name":                    func(c *Cluster, v string) { c.Hosts[0].Name = v },
		"hosts[0].address":                 func(c *Cluster, v string) { c.Hosts[0].Address = v },
		"hosts[0].roles[0]":                func(c *Cluster, v string) { c.Hosts[0].Roles[0] = Role(v) },
		"hosts[0].labels":                  func(c *Cluster, v string) { c.Hosts[0].Labels = map[string]string{v: "x"} },
		"hosts[0].labels.x":                func(c *Cluster, v string) { c.Hosts[0].Labels = map[string]string{"x": v} },
		"hosts[0].taints[0]":               func(c *Cluster, v string) { c.Hosts[0].Taints = []string{"k=" + v + ":NoSchedule"} },
		"hosts[0].ssh.user":                func(c *Cluster, v string) { c.Hosts[0].SSH.User = v },
		"hosts[0].ssh.address":             func(c *Cluster, v string) { c.Hosts[0].SSH.Address = v },
		"hosts[0].ssh.hostKey":             func(c *Cluster, v string) { c.Hosts[0].SSH.HostKey = v },
		"mirror.url":                       func(c *Cluster, v string) { c.Mirror.URL = "https://" + v + "/" },
		"mirror.caFingerprint":             func(c *Cluster, v string) { c.Mirror.CAFingerprint = v },
		"network.podCIDR":                  func(c *Cluster, v string) { c.Network.PodCIDR = v },
		"network.serviceCIDR":              func(c *Cluster, v string) { c.Network.ServiceCIDR = v },
		"network.dnsDomain":                func(c *Cluster, v string) { c.Network.DNSDomain = v },
		"network.isolation":                func(c *Cluster, v string) { c.Network.Isolation = v },
		"network.proxyMode":                func(c *Cluster, v string) { c.Network.ProxyMode = v },
		"controlPlane.endpoint":            func(c *Cluster, v string) { c.ControlPlane.Endpoint = v + ":6443" },
		"controlPlane.sans[0]":             func(c *Cluster, v string) { c.ControlPlane.SANs = []string{v} },
		"kubelet.args":                     func(c *Cluster, v string) { c.Kubelet.Args = map[string]string{v: "x"} },
		"kubelet.args.x":                   func(c *Cluster, v string) { c.Kubelet.Args = map[string]string{"x": v + "\n"} },
		"etcd.args.x":                      func(c *Cluster, v string) { c.Etcd.Args = map[string]string{"x": v + "\x1b"} },
		"runtime.cgroupDriver":             func(c *Cluster, v string) { c.Runtime.CgroupDriver = v },
		"time.servers[0]":                  func(c *Cluster, v string) { c.Time.Servers = []string{v} },
		"time.args[0]":                     func(c *Cluster, v string) { c.Time.Args = []string{v + " "} },
		"time.maxSkew":                     func(c *Cluster, v string) { c.Time.MaxSkew = v },
		"hostPreparation.sysctls":          func(c *Cluster, v string) { c.HostPrep.Sysctls = map[string]string{v: "1"} },
		"hostPreparation.sysctls[\"a.b\"]": func(c *Cluster, v string) { c.HostPrep.Sysctls = map[string]string{"a.b": v + "\n"} },
		"hostPreparation.skip[0]":          func(c *Cluster, v string) { c.HostPrep.Skip = []string{v} },
		"hostPreparation.ignorePreflight[0]": func(c *Cluster, v string) {
			c.HostPrep.IgnorePreflight = []string{v}
		},
	}
	mayBeEmpty := map[string]bool{
		"hosts[0].labels.x": true, "hosts[0].taints[0]": true, "hosts[0].ssh.user": true, "hosts[0].ssh.address": true,
		"hosts[0].ssh.hostKey": true, "mirror.caFingerprint": true, "network.podCIDR": true, "network.serviceCIDR": true,
		"network.dnsDomain": true, "network.proxyMode": true, "network.isolation": true, "runtime.cgroupDriver": true, "time.maxSkew": true,
	}
	for path, set := range fields {
		for _, v := range hostile {
			t.Run(fmt.Sprintf("%s=%q", path, v), func(t *testing.T) {
				c := sampleCluster(t)
				set(c, v)
				if v == "" && mayBeEmpty[path] {
					if bad := c.Validate(); len(bad) > 0 {
						t.Errorf("empty, which means the default: %v", bad)
					}
					return
				}
				for _, p := range c.Validate() {
					if strings.HasPrefix(p.Path, path) {
						return
					}
				}
				t.Errorf("accepted; problems: %v", c.Validate())
			})
		}
	}
}

func TestClusterValidate(t *testing.T) {
	tests := []struct {
		name, path, want string // no want: fine
		change           func(*Cluster)
	}{
		{"as it is", "", "", func(*Cluster) {}},
		{"one host for all", "", "", func(c *Cluster) {
			c.Hosts = c.Hosts[:1]
			c.Hosts[0].Roles = []Role{RoleControlPlane, RoleEtcd, RoleWorker}
		}},
		{"users of directories", "", "", func(c *Cluster) {
			c.SSH.User, c.Hosts[0].SSH.User, c.Hosts[1].SSH.User = "Administrator", "jdoe@corp.example.com", `CORP\jdoe`
		}},
		{"two domains", "ssh.user", "CORP", func(c *Cluster) { c.SSH.User = `A\B\c` }},
		{"user is an option", "ssh.user", "root", func(c *Cluster) { c.SSH.User = `CORP\-x` }},
		{"wildcard", "", "", func(c *Cluster) { c.ControlPlane.SANs = []string{"*.k8s.example.com", "k8s.example.com", "fd00::9"} }},
		{"wildcard inside", "controlPlane.sans[0]", "*.NAME", func(c *Cluster) { c.ControlPlane.SANs = []string{"a.*.example.com"} }},
		{"wildcard of part", "controlPlane.sans[0]", "*.NAME", func(c *Cluster) { c.ControlPlane.SANs = []string{"*a.example.com"} }},
		{"upper case name", "controlPlane.sans[0]", "lower case", func(c *Cluster) { c.ControlPlane.SANs = []string{"K8s.example.com"} }},
		{"63 characters", "", "", func(c *Cluster) { c.Hosts[1].Name = strings.Repeat("b", 40) + "." + strings.Repeat("c", 22) }},
		{"64 characters", "hosts[1].name", "64 characters, want an RFC 1123 name of at most 63", func(c *Cluster) {
			c.Hosts[1].Name = strings.Repeat("b", 40) + "." + strings.Repeat("c", 23)
		}},
		{"four etcd", "hosts", "want 1, 3 or 5", func(c *Cluster) {
			c.Hosts = append(c.Hosts, Host{Name: "x", Address: "10.0.0.30", Roles: []Role{RoleEtcd}},
				Host{Name: "y", Address: "10.0.0.31", Roles: []Role{RoleEtcd}}, Host{Name: "z", Address: "10.0.0.32", Roles: []Role{RoleEtcd}})
		}},
		{"IPv6 host among IPv4", "hosts[1].address", "families", func(c *Cluster) { c.Hosts[1].Address = "fd00::2" }},
		{"IPv6 hosts, pods by default", "network.podCIDR", "families", func(c *Cluster) { c.Hosts[0].Address, c.Hosts[1].Address = "fd00::1", "fd00::2" }},
		{"IPv6 pods and services of IPv4 hosts", "network.podCIDR", "families", func(c *Cluster) {
			c.Network.PodCIDR, c.Network.ServiceCIDR = "fd01::/56", "fd02::/112"
		}},
		{"IPv6 pods without room", "network.podCIDR", "no /64 for each of 2 nodes", func(c *Cluster) { c.Network.PodCIDR = "fd01::/64" }},
		{"IPv4 in IPv6", "hosts[1].address", "want the form 10.0.0.21", func(c *Cluster) { c.Hosts[1].Address = "::ffff:10.0.0.21" }},
		{"long form", "hosts[1].address", "want the form fd00::2", func(c *Cluster) { c.Hosts[1].Address = "fd00:0::2" }},
		{"large pod range", "network.podCIDR", "too large", func(c *Cluster) { c.Network.PodCIDR = "16.0.0.0/7" }},
		{"loopback pods", "network.podCIDR", "unicast", func(c *Cluster) { c.Network.PodCIDR = "127.0.0.0/16" }},
		{"multicast services", "network.serviceCIDR", "unicast", func(c *Cluster) { c.Network.ServiceCIDR = "224.0.0.0/16" }},
		{"mirror in a range", "mirror.url", "service range", func(c *Cluster) { c.Mirror.URL = "https://10.96.0.5:8443" }},
		{"endpoint in a range", "controlPlane.endpoint", "pod range", func(c *Cluster) { c.ControlPlane.Endpoint = "10.244.0.5:6443" }},
		{"time server in a range", "time.servers[0]", "pod range", func(c *Cluster) { c.Time.Servers = []string{"10.244.0.5"} }},
		{"IPv6", "", "", func(c *Cluster) {
			c.Hosts[0].Address, c.Hosts[1].Address = "fd00::1", "fd00::2"
			c.Network.PodCIDR, c.Network.ServiceCIDR = "fd01::/48", "fd02::/112"
			c.ControlPlane.Endpoint = "[fd00::1]:6443"
		}},
		{"dual stack", "", "", dualStack},
		{"dual stack, services of one", "network.serviceCIDR", "found 1 ranges, want 2", func(c *Cluster) { dualStack(c); c.Network.ServiceCIDR = "" }},
		{"dual stack, pods of one", "network.serviceCIDR", "found 2 ranges, want 1", func(c *Cluster) {
			c.Network.ServiceCIDR = "10.96.0.0/16,fd02::/112"
		}},
		{"IPv6 first", "network.podCIDR", "one of IPv4 and then one of IPv6", func(c *Cluster) { dualStack(c); c.Network.PodCIDR = "fd01::/56,10.244.0.0/16" }},
		{"two of IPv4", "network.podCIDR", "one of IPv4 and then one of IPv6", func(c *Cluster) { dualStack(c); c.Network.PodCIDR = "10.244.0.0/16,10.245.0.0/16" }},
		{"three ranges", "network.podCIDR", "one of IPv4 and then one of IPv6", func(c *Cluster) { dualStack(c); c.Network.PodCIDR += ",fd03::/56" }},
		{"second range with a space", "network.podCIDR", "want a range such as", func(c *Cluster) { dualStack(c); c.Network.PodCIDR = "10.244.0.0/16, fd01::/56" }},
		{"second pod range without room", "network.podCIDR", "no /64 for each of 2 nodes", func(c *Cluster) { dualStack(c); c.Network.PodCIDR = "10.244.0.0/16,fd01::/64" }},
		{"large second service range", "network.serviceCIDR", "4 to 20 bits", func(c *Cluster) { dualStack(c); c.Network.ServiceCIDR = "10.96.0.0/16,fd02::/64" }},
		{"second ranges overlap", "network.serviceCIDR", "fd01::/112 overlaps the pods' fd01::/56", func(c *Cluster) { dualStack(c); c.Network.ServiceCIDR = "10.96.0.0/16,fd01::/112" }},
		{"node without a second address", "hosts[1].secondAddress", "missing", func(c *Cluster) { dualStack(c); c.Hosts[1].SecondAddress = "" }},
		{"second address of one family", "hosts[1].secondAddress", "does nothing", func(c *Cluster) { c.Hosts[1].SecondAddress = "fd00::2" }},
		{"second address of IPv4", "hosts[1].secondAddress", "want an IPv6 address", func(c *Cluster) { dualStack(c); c.Hosts[1].SecondAddress = "10.0.1.2" }},
		{"second address twice", "hosts[1].secondAddress", "already that of hosts[0]", func(c *Cluster) { dualStack(c); c.Hosts[1].SecondAddress = "fd00::1" }},
		{"second address in long form", "hosts[1].secondAddress", "want the form fd00::2", func(c *Cluster) { dualStack(c); c.Hosts[1].SecondAddress = "fd00:0::2" }},
		{"second address in a range", "hosts[1].secondAddress", "pod range", func(c *Cluster) { dualStack(c); c.Hosts[1].SecondAddress = "fd01::2" }},
		{"no forwarding of IPv6", `hostPreparation.sysctls["net.ipv6.conf.all.forwarding"]`, "want 1", func(c *Cluster) {
			dualStack(c)
			c.HostPrep.Sysctls = map[string]string{"net.ipv6.conf.all.forwarding": "0"}
		}},
		{"dual stack, isolated", "network.isolation", "found two ranges", func(c *Cluster) { dualStack(c); c.Network.Isolation = IsolateNamespaces }},
		{"taints and labels", "", "", func(c *Cluster) {
			c.Hosts[1].Taints = []string{"a:NoExecute", "example.com/gpu=yes:NoSchedule", "b=:PreferNoSchedule"}
			c.Hosts[1].Labels = map[string]string{"example.com/rack": "a1", "empty": ""}
		}},
		{"flag values", "", "", func(c *Cluster) { c.APIServer.Args = map[string]string{"v": "2", "audit-log-path": "/var/log/a b.log"} }},
		{"no hosts", "hosts", "none given", func(c *Cluster) { c.Hosts = nil }},
		{"no control plane", "hosts", `"control-plane"`, func(c *Cluster) { c.Hosts[0].Roles = []Role{RoleEtcd} }},
		{"no worker", "hosts", `"worker"`, func(c *Cluster) { c.Hosts[1].Roles = []Role{RoleControlPlane} }},
		{"two etcd", "hosts", "want 1, 3 or 5", func(c *Cluster) { c.Hosts[1].Roles = []Role{RoleWorker, RoleEtcd} }},
		{"same name", "hosts[1].name", "already hosts[0]", func(c *Cluster) { c.Hosts[1].Name = c.Hosts[0].Name }},
		{"same address", "hosts[1].address", "already that of", func(c *Cluster) { c.Hosts[1].Address = "::ffff:10.0.0.11" }},
		{"loopback", "hosts[0].address", "other hosts reach", func(c *Cluster) { c.Hosts[0].Address = "127.0.0.1" }},
		{"zone", "hosts[0].address", "other hosts reach", func(c *Cluster) { c.Hosts[0].Address = "fe80::1%eth0" }},
		{"name like an address", "hosts[0].name", "RFC 1123", func(c *Cluster) { c.Hosts[0].Name = "10.0.0.1" }},
		{"localhost", "hosts[0].name", "RFC 1123", func(c *Cluster) { c.Hosts[0].Name = "localhost" }},
		{"upper case", "hosts[0].name", "RFC 1123", func(c *Cluster) { c.Hosts[0].Name = "CP-1" }},
		{"long label", "hosts[0].name", "RFC 1123", func(c *Cluster) { c.Hosts[0].Name = strings.Repeat("a", 64) }},
		{"two local", "hosts[1].local", "local one already", func(c *Cluster) { c.Hosts[0].Local, c.Hosts[1].Local = true, true }},
		{"role twice", "hosts[1].roles[1]", "duplicate", func(c *Cluster) { c.Hosts[1].Roles = []Role{RoleWorker, RoleWorker} }},
		{"taint effect", "hosts[1].taints[0]", "NoSchedule", func(c *Cluster) { c.Hosts[1].Taints = []string{"a=b:Never"} }},
		{"bastion", "ssh.proxyJump", "user@host:port", func(c *Cluster) { c.SSH.ProxyJump = "a@b:22,-oProxyCommand=x" }},
		{"bastion's user", "ssh.proxyJump", "user@host:port", func(c *Cluster) { c.SSH.ProxyJump = "-x@b" }},
		{"bastion's port", "hosts[0].ssh.proxyJump", "user@host:port", func(c *Cluster) { c.Hosts[0].SSH.ProxyJump = "b:0" }},
		{"ssh port", "hosts[1].ssh.port", "65535", func(c *Cluster) { c.Hosts[1].SSH.Port = 65536 }},
		{"ssh address for all", "ssh.address", "its own", func(c *Cluster) { c.SSH.Address = "10.0.0.9" }},
		{"host in pod range", "hosts[0].address", "pod range", func(c *Cluster) { c.Network.PodCIDR = "10.0.0.0/16" }},
		{"host in service range", "hosts[0].address", "service range", func(c *Cluster) { c.Network.ServiceCIDR = "10.0.0.0/16" }},
		{"ranges overlap", "network.serviceCIDR", "overlaps", func(c *Cluster) { c.Network.ServiceCIDR = "10.244.5.0/24" }},
		{"bits beyond the mask", "network.podCIDR", "want 10.244.0.0/16", func(c *Cluster) { c.Network.PodCIDR = "10.244.1.0/16" }},
		{"families", "network.serviceCIDR", "families", func(c *Cluster) { c.Network.ServiceCIDR = "fd00::/112" }},
		{"large service range", "network.serviceCIDR", "4 to 20 bits", func(c *Cluster) { c.Network.ServiceCIDR = "11.0.0.0/8" }},
		{"small service range", "network.serviceCIDR", "4 to 20 bits", func(c *Cluster) { c.Network.ServiceCIDR = "11.0.0.0/29" }},
		{"small pod range", "network.podCIDR", "no /24", func(c *Cluster) { c.Network.PodCIDR = "10.244.0.0/24" }},
		{"mirror scheme", "mirror.url", "https://dmz:8443", func(c *Cluster) { c.Mirror.URL = "ftp://a" }},
		{"mirror path", "mirror.url", "alone", func(c *Cluster) { c.Mirror.URL = "https://a/b" }},
		{"mirror password", "mirror.url", "alone", func(c *Cluster) { c.Mirror.URL = "https://u:p@a" }},
		{"mirror twice over", "mirror.urls", "one of them", func(c *Cluster) { c.Mirror.URLs = []string{"https://a"} }},
		{"mirrors", "mirror.urls[1]", "https://dmz:8443", func(c *Cluster) { c.Mirror = ClusterMirror{URLs: []string{"https://a", "b"}} }},
		{"same mirror", "mirror.urls[1]", "twice", func(c *Cluster) { c.Mirror = ClusterMirror{URLs: []string{"https://a", "https://a/"}} }},
		{"second mirror in a range", "mirror.urls[1]", "service range", func(c *Cluster) {
			c.Mirror = ClusterMirror{URLs: []string{"https://a", "https://10.96.0.5:8443"}}
		}},
		{"good mirrors", "", "", func(c *Cluster) { c.Mirror = ClusterMirror{URLs: []string{"https://a:8443", "https://a:8444"}} }},
		{"fingerprint of http", "mirror.caFingerprint", "does nothing", func(c *Cluster) {
			c.Mirror = ClusterMirror{URL: "http://a", CAFingerprint: "sha256:" + strings.Repeat("0", 64)}
		}},
		{"flag with dashes", "kubelet.args.--v", "without dashes", func(c *Cluster) { c.Kubelet.Args = map[string]string{"--v": "2"} }},
		{"endpoint without port", "controlPlane.endpoint", "host:port", func(c *Cluster) { c.ControlPlane.Endpoint = "a.example" }},
		{"kubernetes", "kubernetes", "1.36", func(c *Cluster) { c.Kubernetes = "latest" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := sampleCluster(t)
			tt.change(c)
			got := c.Validate()
			if tt.want == "" {
				if len(got) > 0 {
					t.Errorf("got %v", got)
				}
				return
			}
			for _, p := range got {
				if p.Path == tt.path && strings.Contains(p.Message, tt.want) {
					return
				}
			}
			t.Errorf("got %v, want %q at %q", got, tt.want, tt.path)
		})
	}
}

func TestT41ErrorsHidePasswords(t *testing.T) {
	c := sampleCluster(t)
	c.Mirror.URL = "https://u:geheim@a"
	if got := fmt.Sprint(c.Validate()); strings.Contains(got, "geheim") {
		t.Error(got)
	}
}

func TestSetDefaults(t *testing.T) {
	c := sampleCluster(t)
	c.SSH = SSH{User: "admin", KeyFile: "k", Port: 2222, ProxyJump: `CORP\jdoe@bastion.example.com:2222,b`}
	c.Hosts[1].SSH = SSH{User: "root", Port: 22, Address: "jump", ProxyJump: "none"}
	c.SetDefaults(catalog.Release{Version: "1.36.3"})
	want := sampleCluster(t)
	want.Kubernetes = "1.36.3"
	want.Network = ClusterNetwork{PodCIDR: defaultPodCIDR, ServiceCIDR: defaultServiceCIDR, DNSDomain: defaultDNSDomain, ProxyMode: defaultProxyMode}
	want.Runtime.CgroupDriver = "systemd"
	want.ControlPlane.Endpoint = "10.0.0.11:6443"
	want.Time.MaxSkew = "60s"
	want.SSH = c.SSH
	want.Hosts[0].SSH = SSH{Address: "10.0.0.11", User: "admin", KeyFile: "k", Port: 2222, ProxyJump: c.SSH.ProxyJump}
	want.Hosts[1].SSH = SSH{Address: "jump", User: "root", KeyFile: "k", Port: 22, ProxyJump: "none"}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if p := c.Validate(); len(p) > 0 {
		t.Errorf("with defaults it is no longer valid: %v", p)
	}
}

// dualStack gives pods, services and nodes of c addresses of both families.
func dualStack(c *Cluster) {
	c.Network.PodCIDR, c.Network.ServiceCIDR = "10.244.0.0/16,fd01::/56", "10.96.0.0/16,fd02::/112"
	c.Hosts[0].SecondAddress, c.Hosts[1].SecondAddress = "fd00::1", "fd00::2"
}
