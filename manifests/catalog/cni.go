package catalog

import (
	"cmp"
	"fmt"
)

// CNI is a pod network: cni/<name>/cni.yaml.
type CNI struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`
	Name       string `yaml:"name" json:"name"`
	// Options are the settings that cluster.yaml may have under network.options, by name.
	// Templates read them as .Options.<name>: a string, an integer or a boolean.
	Options  map[string]Option `yaml:"options,omitempty" json:"options,omitempty"`
	Releases []CNIRelease      `yaml:"releases" json:"releases" merge:"from"` // the first one with the minor in its range wins
}

// CNIRelease is a version of a CNI and its range of Kubernetes minors.
//
// An entry of ports, protocols, modules and ready, oneSubnet and keepsKubeProxy may be a
// template over the options, "{{if eq .backend \"vxlan\"}}{{.port}}/udp{{end}}"; an empty result is left
// out. With fills them in.
type CNIRelease struct {
	From    string           `yaml:"from" json:"from"`                 // first minor, inclusive
	To      string           `yaml:"to,omitempty" json:"to,omitempty"` // last minor, inclusive; empty: open
	Version string           `yaml:"version" json:"version"`
	Images  map[string]Image `yaml:"images" json:"images"` // by role, the name in the template
	// Template is the file beside cni.yaml that holds the Kubernetes objects as
	// text/template over ObjectData; Templates are more of them, which may be another
	// network's (../flannel/objects.yaml). Objects is their content, read when the
	// catalog is loaded.
	Template  string   `yaml:"template" json:"-"`
	Templates []string `yaml:"templates,omitempty" json:"-"`
	Objects   string   `yaml:"-" json:"objects"`
	// Namespace is that of its pods, .Namespace of the templates; empty: kube-system.
	Namespace string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
	// Options are those of the CNI, set when the catalog is loaded.
	Options map[string]Option `yaml:"-" json:"options,omitempty"`

	// Policies reports that the network enforces NetworkPolicy. ReplacesKubeProxy reports
	// that its pods are the proxy of services, so that nodes run no kube-proxy.
	Policies          bool `yaml:"policies,omitempty" json:"policies,omitempty"`
	ReplacesKubeProxy bool `yaml:"replacesKubeProxy,omitempty" json:"replacesKubeProxy,omitempty"`
	// KeepsKubeProxy, if it is not empty, means that nodes run kube-proxy all the same.
	KeepsKubeProxy string `yaml:"keepsKubeProxy,omitempty" json:"keepsKubeProxy,omitempty"`
	// IPVS reports that this proxy uses IPVS: nodes get the packages of the role
	// kube-proxy-ipvs, and reset removes its virtual servers.
	IPVS bool `yaml:"ipvs,omitempty" json:"ipvs,omitempty"`
	// FirstAddress reports that a node sends packets to pods of other nodes from the first
	// address of its own pod range, which no pod has.
	FirstAddress bool `yaml:"firstAddress,omitempty" json:"firstAddress,omitempty"`
	// DualStack reports that pods can have an IPv6 address too.
	DualStack bool `yaml:"dualStack,omitempty" json:"dualStack,omitempty"`
	// OneSubnet, if it is not empty, requires that all nodes are in one subnet.
	OneSubnet string `yaml:"oneSubnet,omitempty" json:"oneSubnet,omitempty"`

	// Ports, such as "8472/udp", and Protocols, IP protocols without ports such as
	// "ipip", are opened between the hosts.
	Ports     []string `yaml:"ports,omitempty" json:"ports,omitempty"`
	Protocols []string `yaml:"protocols,omitempty" json:"protocols,omitempty"`
	// Modules are kernel modules that every node loads if its kernel has them;
	// Sysctls are set on every node, cluster.yaml's over them.
	Modules []string          `yaml:"modules,omitempty" json:"modules,omitempty"`
	Sysctls map[string]string `yaml:"sysctls,omitempty" json:"sysctls,omitempty"`
	// Unmanaged are interfaces, by name or by prefix ("cali*"), that NetworkManager must
	// leave alone.
	Unmanaged []string `yaml:"unmanaged,omitempty" json:"unmanaged,omitempty"`
	// Ready are files that a node has when its pod network is up, and not before; an
	// interface is /proc/sys/net/ipv4/conf/NAME. Logs are patterns of the logs that an
	// error quotes if they are missing, "/var/log/pods/*_kube-flannel-ds-*/*/*.log".
	Ready []string `yaml:"ready,omitempty" json:"ready,omitempty"`
	Logs  []string `yaml:"logs,omitempty" json:"logs,omitempty"`
	// Reset removes the interfaces by name or prefix ("tun-*"), the files and directories,
	// the iptables chains by their prefix ("FLANNEL-"), the rules of other chains by the
	// prefix of their comment ("flanneld"), and the sets of ipset by their prefix.
	Interfaces   []string `yaml:"interfaces,omitempty" json:"interfaces,omitempty"`
	Files        []string `yaml:"files,omitempty" json:"files,omitempty"`
	Chains       []string `yaml:"chains,omitempty" json:"chains,omitempty"`
	RuleComments []string `yaml:"ruleComments,omitempty" json:"ruleComments,omitempty"`
	IPSets       []string `yaml:"ipsets,omitempty" json:"ipsets,omitempty"`
}

// For returns the version of the network for a Kubernetes minor.
func (n CNI) For(minor string) (CNIRelease, error) {
	for _, r := range n.Releases {
		if compareMinors(r.From, minor) <= 0 && (r.To == "" || compareMinors(minor, r.To) <= 0) {
			return r, nil
		}
	}
	return CNIRelease{}, fmt.Errorf("pod network %q has no version for kubernetes %s", n.Name, minor)
}

// ObjectNamespace returns the namespace of the network's pods.
func (r CNIRelease) ObjectNamespace() string { return cmp.Or(r.Namespace, "kube-system") }

// templates returns the files of the objects.
func (r CNIRelease) templates() []string { return append([]string{r.Template}, r.Templates...) }
