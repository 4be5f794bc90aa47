package catalog

// apiVersion is the version of the documents of a catalog.
const apiVersion = "offk8s.dev/v1"

// Kinds of documents.
const (
	KindRelease = "Release" // kubernetes/<minor>.yaml
	KindCNI     = "CNI"     // cni/<name>/cni.yaml
	KindDistro  = "Distro"  // distro/<id>-<major>.yaml
)

// Release is what offk8s knows of one Kubernetes minor:
// kubernetes/<minor>.yaml.
type Release struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`

	Minor     string `yaml:"minor" json:"minor"`     // "1.36"
	Version   string `yaml:"version" json:"version"` // default patch, "1.36.3"
	EndOfLife string `yaml:"endOfLife,omitempty" json:"endOfLife,omitempty"`
	Notes     string `yaml:"notes,omitempty" json:"notes,omitempty"`

	Defaults ReleaseDefaults `yaml:"defaults" json:"defaults"`
	// Components in install order: kubernetes, etcd, containerd, runc, crictl, cni-plugins, cfssl ….
	Components []Download `yaml:"components" json:"components" merge:"name"`
	// Images by role: "pause", "coredns".
	Images map[string]Image `yaml:"images" json:"images"`

	// Args per daemon ("kube-apiserver" …) that this minor needs or no longer
	// knows: merged over the common set of installer/phase; a nil (~) value
	// removes the flag.
	Args map[string]map[string]*string `yaml:"args,omitempty" json:"args,omitempty"`
	// KubeletConfig fields of this minor, merged over the common set.
	KubeletConfig map[string]any `yaml:"kubeletConfig,omitempty" json:"kubeletConfig,omitempty"`
	// Features are predicates that phases ask for instead of comparing versions.
	Features Features `yaml:"features" json:"features"`

	// DNSTemplate is the template of the cluster DNS objects (RenderObjects
	// fills it), put here by the Catalog so that a Lock carries it.
	DNSTemplate string `yaml:"-" json:"dnsTemplate,omitempty"`
}

// ReleaseDefaults is what bare `pack --version` takes.
type ReleaseDefaults struct {
	Arches  []string `yaml:"arches" json:"arches"`
	Distros []string `yaml:"distros" json:"distros"`
	CNI     string   `yaml:"cni" json:"cni"`
	Runtime string   `yaml:"runtime" json:"runtime"`
}

// Download is one upstream component: a file or an archive per architecture.
type Download struct {
	Name    string `yaml:"name" json:"name"`
	Version string `yaml:"version" json:"version"` // as upstream writes it
	// Arches maps amd64 or arm64 to what is downloaded there.
	Arches map[string]Remote `yaml:"arches" json:"arches"`
	// Members are the paths that are kept of an archive; "{arch}" is replaced.
	// None means that the download itself is the binary, called Name.
	Members []string `yaml:"members,omitempty" json:"members,omitempty"`
}

// Remote is a URL with the digest that is expected there; an empty digest
// means first use (recorded in the Lock).
type Remote struct {
	URL    string `yaml:"url" json:"url"`
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
}

// Image is an image reference and the digest of its index or manifest, when known.
type Image struct {
	Ref    string `yaml:"ref" json:"ref"`
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
}

// Features are facts of a minor, see facts in docs; every field is required in the file.
type Features struct {
	CRIVersion         string   `yaml:"criVersion" json:"criVersion"`                 // "v1alpha2" or "v1"
	ContainerdConfig   int      `yaml:"containerdConfig" json:"containerdConfig"`     // version of config.toml: 2 or 3
	CgroupV2           bool     `yaml:"cgroupV2" json:"cgroupV2"`                     // kubelet knows cgroup v2
	CgroupV1Refused    bool     `yaml:"cgroupV1Refused" json:"cgroupV1Refused"`       // kubelet refuses cgroup v1 unless failCgroupV1 is false
	ControlPlaneLabels []string `yaml:"controlPlaneLabels" json:"controlPlaneLabels"` // node-role labels
	ControlPlaneTaints []string `yaml:"controlPlaneTaints" json:"controlPlaneTaints"` // taint keys
	CSRApproverRoles   bool     `yaml:"csrApproverRoles" json:"csrApproverRoles"`     // signerName exists: approve verb on signers
	MetadataRoute      bool     `yaml:"metadataRoute" json:"metadataRoute"`           // old kubelets ask 169.254.169.254 at start
	// CtrPullArgs are what `ctr images pull` of this line of containerd needs so
	// that it leaves other platforms alone: 2.x asks for their manifests otherwise.
	CtrPullArgs []string `yaml:"ctrPullArgs" json:"ctrPullArgs,omitempty"`
}

// CNI is a pod network: cni/<name>/cni.yaml.
type CNI struct {
	APIVersion string       `yaml:"apiVersion" json:"apiVersion"`
	Kind       string       `yaml:"kind" json:"kind"`
	Name       string       `yaml:"name" json:"name"`
	Releases   []CNIRelease `yaml:"releases" json:"releases" merge:"from"` // the first whose range holds the minor is taken
}

// CNIRelease is one version of a CNI and the minors it goes with.
type CNIRelease struct {
	From    string           `yaml:"from" json:"from"`                 // first minor, inclusive
	To      string           `yaml:"to,omitempty" json:"to,omitempty"` // last minor, inclusive; empty: open
	Version string           `yaml:"version" json:"version"`
	Images  map[string]Image `yaml:"images" json:"images"` // by role, named so in the template
	// Template is the file beside cni.yaml that holds the Kubernetes objects as
	// text/template over .PodCIDR, .Images.<role>, …; Objects is its content,
	// read when the catalog is loaded.
	Template string `yaml:"template" json:"-"`
	Objects  string `yaml:"-" json:"objects"`
	// Ports are "8472/udp" and the like that the hosts must open to each other.
	Ports []string `yaml:"ports,omitempty" json:"ports,omitempty"`
	// Modules are kernel modules that every node loads if its kernel has them;
	// Sysctls are set on every node, cluster.yaml's over them.
	Modules []string          `yaml:"modules,omitempty" json:"modules,omitempty"`
	Sysctls map[string]string `yaml:"sysctls,omitempty" json:"sysctls,omitempty"`
	// Reset removes the interfaces, the files and directories, the iptables chains
	// by their prefix ("FLANNEL-"), and the rules of other chains by the prefix of
	// their comment ("flanneld").
	Interfaces   []string `yaml:"interfaces,omitempty" json:"interfaces,omitempty"`
	Files        []string `yaml:"files,omitempty" json:"files,omitempty"`
	Chains       []string `yaml:"chains,omitempty" json:"chains,omitempty"`
	RuleComments []string `yaml:"ruleComments,omitempty" json:"ruleComments,omitempty"`
}

// Distro is an operating system: distro/<id>-<major>.yaml.
type Distro struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`
	Name       string `yaml:"name" json:"name"`     // "rocky-9"
	ID         string `yaml:"id" json:"id"`         // os-release ID
	Major      string `yaml:"major" json:"major"`   // first part of os-release VERSION_ID
	Family     string `yaml:"family" json:"family"` // "redhat" or "debian"
	// Arches are those, in Go's spelling, that the sources below have.
	Arches []string `yaml:"arches" json:"arches"`

	Yum []YumRepository `yaml:"yum,omitempty" json:"yum,omitempty" merge:"id"`
	Apt []AptSource     `yaml:"apt,omitempty" json:"apt,omitempty"`
	// Packages are what every host gets.
	Packages []string `yaml:"packages" json:"packages"`
	// MetadataCompression of the repository we write: "gz" (EL7) or "zst".
	MetadataCompression string `yaml:"metadataCompression" json:"metadataCompression"`
	// Exclude are packages that are never taken into a closure (glob on the name).
	Exclude []string `yaml:"exclude,omitempty" json:"exclude,omitempty"`
	// Keys are the armoured OpenPGP public keys that KeyFiles of the sources
	// name, by file name; read when the catalog is loaded.
	Keys map[string]string `yaml:"-" json:"keys"`
}

// YumRepository is an upstream yum repository; "{arch}" in BaseURL is replaced by x86_64 or aarch64.
type YumRepository struct {
	ID       string   `yaml:"id" json:"id"`
	BaseURL  string   `yaml:"baseURL" json:"baseURL"`
	KeyFiles []string `yaml:"keyFiles" json:"keyFiles"` // keys/<file>
	// SignedMetadata says that repomd.xml.asc must be there and good.
	SignedMetadata bool `yaml:"signedMetadata" json:"signedMetadata"`
	Priority       int  `yaml:"priority,omitempty" json:"priority,omitempty"`
}

// AptSource is a suite of a Debian-style archive. Archive is a logical name
// ("debian", "debian-security"); its URL comes from the packing machine's apt
// configuration or from a rewrite of "apt:<archive>".
type AptSource struct {
	Archive    string   `yaml:"archive" json:"archive"`
	Suite      string   `yaml:"suite" json:"suite"`
	Components []string `yaml:"components" json:"components"`
	KeyFiles   []string `yaml:"keyFiles" json:"keyFiles"`
}
