package manifests

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Role is the role of a host in the cluster.
type Role string

// The roles. A host may have several.
const (
	RoleControlPlane Role = "control-plane"
	RoleEtcd         Role = "etcd"
	RoleWorker       Role = "worker"
	RoleLoadBalancer Role = "load-balancer"
)

// Cluster assigns roles and settings to hosts: cluster.yaml.
type Cluster struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"` // offk8s.dev/v1
	Kind       string `yaml:"kind" json:"kind"`             // Cluster

	// Name is the name of the cluster, in lower case letters, digits and dashes.
	Name string `yaml:"name" json:"name"`
	// Kubernetes, if set, must match the bundle's version ("1.36" or "1.36.3").
	Kubernetes string `yaml:"kubernetes,omitempty" json:"kubernetes,omitempty"`

	Mirror  ClusterMirror  `yaml:"mirror" json:"mirror"`                      // the mirror that the hosts fetch from
	SSH     SSH            `yaml:"ssh,omitempty" json:"ssh,omitzero"`         // how to connect to the hosts; a host may override it
	Hosts   []Host         `yaml:"hosts" json:"hosts"`                        // the machines
	Network ClusterNetwork `yaml:"network,omitempty" json:"network,omitzero"` // address ranges, DNS domain, pod network

	ControlPlane ControlPlane `yaml:"controlPlane,omitempty" json:"controlPlane,omitzero"` // the address of the API
	LoadBalancer LoadBalancer `yaml:"loadBalancer,omitempty" json:"loadBalancer,omitzero"` // how nodes and users reach several control planes
	// TopologyReason allows an even number of etcd members or control planes, or a single load balancer.
	TopologyReason string `yaml:"topologyReason,omitempty" json:"topologyReason,omitempty"`

	Etcd              Component `yaml:"etcd,omitempty" json:"etcd,omitzero"`                           // settings of etcd
	APIServer         Component `yaml:"apiServer,omitempty" json:"apiServer,omitzero"`                 // settings of kube-apiserver
	ControllerManager Component `yaml:"controllerManager,omitempty" json:"controllerManager,omitzero"` // settings of kube-controller-manager
	Scheduler         Component `yaml:"scheduler,omitempty" json:"scheduler,omitzero"`                 // settings of kube-scheduler
	Kubelet           Component `yaml:"kubelet,omitempty" json:"kubelet,omitzero"`                     // settings of the kubelet
	Proxy             Component `yaml:"proxy,omitempty" json:"proxy,omitzero"`                         // settings of kube-proxy
	Runtime           Runtime   `yaml:"runtime,omitempty" json:"runtime,omitzero"`                     // the container runtime
	Time              Time      `yaml:"time,omitempty" json:"time,omitzero"`                           // time servers and settings of chrony
	// Addons names those addons of the bundle that the cluster has. If the field is
	// missing, it has all of them.
	Addons   []string `yaml:"addons,omitzero" json:"addons,omitzero"`
	HostPrep HostPrep `yaml:"hostPreparation,omitempty" json:"hostPreparation,omitzero"` // what is prepared on hosts, and what is not
}

// ClusterMirror is the mirror that the hosts fetch from, or several of the same bundle.
type ClusterMirror struct {
	// URL is the address of offk8s serve as the hosts see it, such as https://10.0.0.5:8443.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// URLs, in place of url, are the addresses of several mirrors that serve the same bundle
	// with the same CA. Hosts use the first that answers, and the next if it stops.
	URLs []string `yaml:"urls,omitempty" json:"urls,omitempty"`
	// CAFingerprint is printed by serve: "sha256:" and the SHA-256 of the CA certificate's
	// DER in hexadecimal. If it is empty, the hosts use the trust store of their system (or http).
	CAFingerprint string `yaml:"caFingerprint,omitempty" json:"caFingerprint,omitempty"`
}

// Addresses returns the URLs of the mirrors in order, without a trailing slash; nil if
// there are none.
func (m ClusterMirror) Addresses() []string {
	var out []string
	for _, u := range m.named() {
		out = append(out, strings.TrimRight(u, "/"))
	}
	return out
}

// named returns the URLs by the place in cluster.yaml, in order.
func (m ClusterMirror) named() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		if m.URL != "" && !yield("mirror.url", m.URL) {
			return
		}
		for i, u := range m.URLs {
			if !yield(fmt.Sprintf("mirror.urls[%d]", i), u) {
				return
			}
		}
	}
}

// Host is one machine.
type Host struct {
	Name    string `yaml:"name" json:"name"`       // RFC 1123 label or subdomain, lower case; also the node name
	Address string `yaml:"address" json:"address"` // IP that the other hosts reach
	// SecondAddress is the IPv6 address of a node that has pods of both families.
	SecondAddress string `yaml:"secondAddress,omitempty" json:"secondAddress,omitempty"`
	Roles         []Role `yaml:"roles" json:"roles"` // control-plane, etcd, worker, load-balancer; a host may have several
	// OS is the expected distribution, such as "rocky-9", or that of the bundle whose
	// packages the host uses; if it is empty, any is accepted. offk8s plan uses it, since
	// it does not connect to hosts.
	OS string `yaml:"os,omitempty" json:"os,omitempty"`
	// Local marks the host that install itself runs on: no SSH.
	Local  bool              `yaml:"local,omitempty" json:"local,omitempty"`
	SSH    SSH               `yaml:"ssh,omitempty" json:"ssh,omitzero"`        // how to connect to this host
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"` // labels of the node
	Taints []string          `yaml:"taints,omitempty" json:"taints,omitempty"` // taints of the node, as "key=value:Effect"
}

// HasRole reports whether h has the role r.
func (h Host) HasRole(r Role) bool { return slices.Contains(h.Roles, r) }

// SSH holds the settings of a connection to a host.
type SSH struct {
	// Address is a name or an address, or a Host of ~/.ssh/config; default: the host's address.
	Address    string `yaml:"address,omitempty" json:"address,omitempty"`
	Port       int    `yaml:"port,omitempty" json:"port,omitempty"`             // default: that of ~/.ssh/config, or 22
	User       string `yaml:"user,omitempty" json:"user,omitempty"`             // default: that of ~/.ssh/config, or root; another user needs sudo
	KeyFile    string `yaml:"keyFile,omitempty" json:"keyFile,omitempty"`       // private key; default: ssh-agent, then those of ~/.ssh/config, or ~/.ssh/id_*
	KnownHosts string `yaml:"knownHosts,omitempty" json:"knownHosts,omitempty"` // host keys; default ~/.ssh/known_hosts
	// HostKey pins the key's fingerprint as ssh-keygen -l prints it ("SHA256:…").
	HostKey string `yaml:"hostKey,omitempty" json:"hostKey,omitempty"`
	// ProxyJump are the bastions on the way, as "user@host:port", with commas between them;
	// none: no bastion; default: that of ~/.ssh/config.
	ProxyJump string `yaml:"proxyJump,omitempty" json:"proxyJump,omitempty"`
}

// ClusterNetwork holds address ranges, DNS domain, proxy mode and options.
type ClusterNetwork struct {
	// PodCIDR is the range of the pods' addresses; default 10.244.0.0/16. With a second one,
	// as in "10.244.0.0/16,fd00:10::/56", pods have IPv6 addresses too.
	PodCIDR string `yaml:"podCIDR,omitempty" json:"podCIDR,omitempty"`
	// ServiceCIDR is the range of the services' addresses; default 10.96.0.0/16. It has as many
	// ranges as podCIDR.
	ServiceCIDR string `yaml:"serviceCIDR,omitempty" json:"serviceCIDR,omitempty"`
	DNSDomain   string `yaml:"dnsDomain,omitempty" json:"dnsDomain,omitempty"` // domain of services; default cluster.local
	ProxyMode   string `yaml:"proxyMode,omitempty" json:"proxyMode,omitempty"` // iptables (default), ipvs or nftables
	// Isolation "namespaces" keeps pods of other namespaces away from those of each
	// namespace; empty: pods reach each other.
	Isolation string `yaml:"isolation,omitempty" json:"isolation,omitempty"`
	// Options are settings of the bundle's pod network; docs/networks.md lists them.
	Options map[string]any `yaml:"options,omitempty" json:"options,omitempty"`
}

// ControlPlane holds the address of the API.
type ControlPlane struct {
	// Endpoint is the host:port that users and, unless they have a proxy, nodes dial.
	// If it is empty, it is that of the load balancers, or else the first control
	// plane's address and port 6443.
	Endpoint string   `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
	SANs     []string `yaml:"sans,omitempty" json:"sans,omitempty"` // more names and addresses for the API's certificate
}

// Component overrides the settings of one daemon.
type Component struct {
	Args map[string]string `yaml:"args,omitempty" json:"args,omitempty"` // flags without dashes, and their values
	// Config is merged over the generated configuration file, if the daemon has one.
	Config map[string]any `yaml:"config,omitempty" json:"config,omitempty"`
}

// The container runtimes. RuntimeDocker is for minors whose kubelet has dockershim, up to 1.23.
const (
	RuntimeContainerd = "containerd"
	RuntimeDocker     = "docker"
)

// Runtime is the container runtime.
type Runtime struct {
	// Name is containerd or docker; if it is empty, it is that of the bundle.
	Name         string `yaml:"name,omitempty" json:"name,omitempty"`
	CgroupDriver string `yaml:"cgroupDriver,omitempty" json:"cgroupDriver,omitempty"` // systemd (default) or cgroupfs
	// Config is merged over the generated configuration: containerd's config.toml, with the
	// keys of TOML, or docker's daemon.json.
	Config map[string]any `yaml:"config,omitempty" json:"config,omitempty"`
}

// Time holds the settings of chrony.
type Time struct {
	// Servers are upstream time servers of the control planes. If the field is missing,
	// they keep those that they follow already; an empty list means none. Without
	// any, the cluster follows the clock of a control plane.
	Servers []string `yaml:"servers,omitzero" json:"servers,omitzero"`
	// Args are extra arguments of chronyd, for example ["-x"].
	Args []string `yaml:"args,omitempty" json:"args,omitempty"`
	// MaxSkew is the largest accepted clock difference between a host and this
	// machine; default 60s.
	MaxSkew string `yaml:"maxSkew,omitempty" json:"maxSkew,omitempty"`
}

// HostPrep holds the settings of the host stage.
type HostPrep struct {
	Sysctls map[string]string `yaml:"sysctls,omitempty" json:"sysctls,omitempty"` // more kernel parameters
	// Skip names groups of steps to leave out: "hostname", "hosts", "swap",
	// "modules", "sysctl", "firewall", "selinux", "managers".
	Skip []string `yaml:"skip,omitempty" json:"skip,omitempty"`
	// PersistentJournal keeps the logs of services on disk. EL7 loses them at a boot otherwise.
	PersistentJournal bool `yaml:"persistentJournal,omitempty" json:"persistentJournal,omitempty"`
	// IgnorePreflight names preflight checks that only warn if they fail.
	IgnorePreflight []string `yaml:"ignorePreflight,omitempty" json:"ignorePreflight,omitempty"`
}
