package manifests

import "slices"

// Role is what a host does in the cluster.
type Role string

// The roles. A host may have several.
const (
	RoleControlPlane Role = "control-plane"
	RoleEtcd         Role = "etcd"
	RoleWorker       Role = "worker"
	RoleLoadBalancer Role = "load-balancer"
)

// Cluster is what the user wants on which host: cluster.yaml.
type Cluster struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`

	Name string `yaml:"name" json:"name"`
	// Kubernetes, when set, must match the bundle's version ("1.36" or "1.36.3").
	Kubernetes string `yaml:"kubernetes,omitempty" json:"kubernetes,omitempty"`

	Mirror  ClusterMirror  `yaml:"mirror" json:"mirror"`
	SSH     SSH            `yaml:"ssh,omitempty" json:"ssh,omitzero"` // defaults for all hosts
	Hosts   []Host         `yaml:"hosts" json:"hosts"`
	Network ClusterNetwork `yaml:"network,omitempty" json:"network,omitzero"`

	ControlPlane      ControlPlane `yaml:"controlPlane,omitempty" json:"controlPlane,omitzero"`
	Etcd              Component    `yaml:"etcd,omitempty" json:"etcd,omitzero"`
	APIServer         Component    `yaml:"apiServer,omitempty" json:"apiServer,omitzero"`
	ControllerManager Component    `yaml:"controllerManager,omitempty" json:"controllerManager,omitzero"`
	Scheduler         Component    `yaml:"scheduler,omitempty" json:"scheduler,omitzero"`
	Kubelet           Component    `yaml:"kubelet,omitempty" json:"kubelet,omitzero"`
	Proxy             Component    `yaml:"proxy,omitempty" json:"proxy,omitzero"`
	Runtime           Runtime      `yaml:"runtime,omitempty" json:"runtime,omitzero"`
	Time              Time         `yaml:"time,omitempty" json:"time,omitzero"`
	HostPrep          HostPrep     `yaml:"hostPreparation,omitempty" json:"hostPreparation,omitzero"`
}

// ClusterMirror is where the hosts fetch from.
type ClusterMirror struct {
	URL string `yaml:"url" json:"url"` // "https://dmz:8443"
	// CAFingerprint is what `serve` printed: "sha256:<hex>" of the CA
	// certificate's DER. Empty means the system's trust store (or http).
	CAFingerprint string `yaml:"caFingerprint,omitempty" json:"caFingerprint,omitempty"`
}

// Host is one machine.
type Host struct {
	Name    string `yaml:"name" json:"name"`       // RFC 1123 label or subdomain, lower case; also the node name
	Address string `yaml:"address" json:"address"` // IP that the other hosts reach
	Roles   []Role `yaml:"roles" json:"roles"`
	// OS is the distribution that the host is expected to run ("rocky-9"); empty
	// means whatever is found there. `offk8s plan` needs it, for it asks no host.
	OS string `yaml:"os,omitempty" json:"os,omitempty"`
	// Local marks the host that `install` itself runs on: no SSH.
	Local  bool              `yaml:"local,omitempty" json:"local,omitempty"`
	SSH    SSH               `yaml:"ssh,omitempty" json:"ssh,omitzero"`
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
	Taints []string          `yaml:"taints,omitempty" json:"taints,omitempty"` // "key=value:Effect"
}

// HasRole reports whether h plays r.
func (h Host) HasRole(r Role) bool { return slices.Contains(h.Roles, r) }

// SSH says how to reach a host.
type SSH struct {
	Address    string `yaml:"address,omitempty" json:"address,omitempty"` // empty: the host's address
	Port       int    `yaml:"port,omitempty" json:"port,omitempty"`       // 0: 22
	User       string `yaml:"user,omitempty" json:"user,omitempty"`       // empty: root
	KeyFile    string `yaml:"keyFile,omitempty" json:"keyFile,omitempty"` // empty: ssh-agent, then ~/.ssh/id_*
	KnownHosts string `yaml:"knownHosts,omitempty" json:"knownHosts,omitempty"`
	// HostKey pins the key's fingerprint as ssh-keygen -l prints it ("SHA256:…").
	HostKey string `yaml:"hostKey,omitempty" json:"hostKey,omitempty"`
}

// ClusterNetwork is addressing and pod network.
type ClusterNetwork struct {
	PodCIDR     string `yaml:"podCIDR,omitempty" json:"podCIDR,omitempty"`         // default 10.244.0.0/16
	ServiceCIDR string `yaml:"serviceCIDR,omitempty" json:"serviceCIDR,omitempty"` // default 10.96.0.0/16
	DNSDomain   string `yaml:"dnsDomain,omitempty" json:"dnsDomain,omitempty"`     // default cluster.local
	ProxyMode   string `yaml:"proxyMode,omitempty" json:"proxyMode,omitempty"`     // default iptables
}

// ControlPlane is how the API is reached.
type ControlPlane struct {
	// Endpoint is the host:port that nodes and users dial; empty means the first
	// control plane's address and port 6443. Extra names go into the certificate.
	Endpoint string   `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
	SANs     []string `yaml:"sans,omitempty" json:"sans,omitempty"`
}

// Component are overrides of one daemon. Arguments are flags without dashes;
// Config is merged over the generated configuration file, where it has one.
type Component struct {
	Args   map[string]string `yaml:"args,omitempty" json:"args,omitempty"`
	Config map[string]any    `yaml:"config,omitempty" json:"config,omitempty"`
}

// Runtime is the container runtime.
type Runtime struct {
	CgroupDriver string `yaml:"cgroupDriver,omitempty" json:"cgroupDriver,omitempty"` // default systemd
	// Config is merged over containerd's generated config.toml, keys as in TOML.
	Config map[string]any `yaml:"config,omitempty" json:"config,omitempty"`
}

// Time is chrony.
type Time struct {
	// Servers are upstream time servers of the control planes; none means that
	// the control plane's own clock is the source of the cluster.
	Servers []string `yaml:"servers,omitempty" json:"servers,omitempty"`
	// Args are extra arguments of chronyd, for example ["-x"].
	Args []string `yaml:"args,omitempty" json:"args,omitempty"`
	// MaxSkew between any host and the operator before install refuses; default 60s.
	MaxSkew string `yaml:"maxSkew,omitempty" json:"maxSkew,omitempty"`
}

// HostPrep are switches of the host phase.
type HostPrep struct {
	Sysctls map[string]string `yaml:"sysctls,omitempty" json:"sysctls,omitempty"`
	// Skip names steps groups that are left alone: "hostname", "hosts", "swap",
	// "modules", "sysctl", "firewall", "selinux".
	Skip []string `yaml:"skip,omitempty" json:"skip,omitempty"`
	// IgnorePreflight names preflight checks whose failure is only a warning.
	IgnorePreflight []string `yaml:"ignorePreflight,omitempty" json:"ignorePreflight,omitempty"`
}
