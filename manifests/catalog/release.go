package catalog

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Release describes one Kubernetes minor: kubernetes/<minor>.yaml.
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

	// Args are flags by daemon ("kube-apiserver" …) that this minor needs. They are
	// merged over the common set of installer/stage; nil (~) removes a flag.
	Args map[string]map[string]*string `yaml:"args,omitempty" json:"args,omitempty"`
	// KubeletConfig fields of this minor, merged over the common set.
	KubeletConfig map[string]any `yaml:"kubeletConfig,omitempty" json:"kubeletConfig,omitempty"`
	// ProxyModes are the modes of kube-proxy, each with the feature gate that it needs, ""
	// if none; an empty list means iptables and ipvs.
	ProxyModes map[string]string `yaml:"proxyModes,omitempty" json:"proxyModes,omitempty"`
	// Kernel is the oldest kernel that its daemons run on ("4.15"); empty means any.
	Kernel string `yaml:"kernel,omitempty" json:"kernel,omitempty"`
	// TestedKernel is the oldest kernel that upstream accepts (k8s.io/system-validators),
	// for a warning at pack.
	TestedKernel string `yaml:"testedKernel,omitempty" json:"testedKernel,omitempty"`
	// Features are used by stages instead of comparing versions.
	Features Features `yaml:"features" json:"features"`

	// Patches are other patches of the minor: the digests of the archive "kubernetes"
	// by version ("1.36.2") and architecture. A Lock has none.
	Patches map[string]map[string]string `yaml:"patches,omitempty" json:"patches,omitempty"`

	// DNSTemplate is the template of the cluster DNS objects for RenderObjects. The
	// Catalog sets it, so that a Lock contains it.
	DNSTemplate string `yaml:"-" json:"dnsTemplate,omitempty"`
}

// ReleaseDefaults are the values for `pack --version` without other flags.
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
	// Arches holds the download by architecture, amd64 or arm64.
	Arches map[string]Remote `yaml:"arches" json:"arches"`
	// Members are the paths to extract from an archive; "{arch}" is replaced. If
	// there are none, the download itself is the binary Name.
	Members []string `yaml:"members,omitempty" json:"members,omitempty"`
}

// Programs returns the names of the files of d, without directories.
func (d Download) Programs() []string {
	if len(d.Members) == 0 {
		return []string{d.Name}
	}
	var out []string
	for _, m := range d.Members {
		out = append(out, path.Base(m))
	}
	return out
}

// Remote is a URL and its digest. If the digest is empty, the Lock records the
// one seen on first use.
type Remote struct {
	URL    string `yaml:"url" json:"url"`
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
}

// Image is an image reference and the digest of its index or manifest, if it is known.
type Image struct {
	Ref    string `yaml:"ref" json:"ref"`
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
}

// Features describe a minor; every field is required in its file.
type Features struct {
	CRIVersion         string   `yaml:"criVersion" json:"criVersion"`                 // of the kubelet, "v1alpha2" or "v1": containerd 2 has v1 alone
	ContainerdConfig   int      `yaml:"containerdConfig" json:"containerdConfig"`     // version of config.toml: 2 or 3
	CgroupV2           bool     `yaml:"cgroupV2" json:"cgroupV2"`                     // kubelet supports cgroup v2
	CgroupV1Refused    bool     `yaml:"cgroupV1Refused" json:"cgroupV1Refused"`       // kubelet refuses cgroup v1 unless failCgroupV1 is false
	ControlPlaneLabels []string `yaml:"controlPlaneLabels" json:"controlPlaneLabels"` // node-role labels
	ControlPlaneTaints []string `yaml:"controlPlaneTaints" json:"controlPlaneTaints"` // taint keys
	CSRApproverRoles   bool     `yaml:"csrApproverRoles" json:"csrApproverRoles"`     // signerName exists: approve verb on signers
	MetadataRoute      bool     `yaml:"metadataRoute" json:"metadataRoute"`           // old kubelets query 169.254.169.254 at start
	EtcdLearner        bool     `yaml:"etcdLearner" json:"etcdLearner,omitempty"`     // members can join as learners (etcd 3.4)
	// DualStack reports that pods and services can have addresses of both families.
	DualStack bool `yaml:"dualStack" json:"dualStack,omitempty"`
	// PodSecurity is the version of its configuration: "v1beta1" or "v1"; empty if the minor has no
	// such admission plugin by default.
	PodSecurity string `yaml:"podSecurity" json:"podSecurity,omitempty"`
	// DrainArgs make kubectl drain evict pods with emptyDir volumes.
	DrainArgs []string `yaml:"drainArgs" json:"drainArgs,omitempty"`
	// CtrPullArgs are arguments of `ctr images pull` that restrict it to one
	// platform: containerd 2.x fetches the manifests of all otherwise.
	CtrPullArgs []string `yaml:"ctrPullArgs" json:"ctrPullArgs,omitempty"`
}

// Runtimes are the container runtimes that a release can have among its components.
var Runtimes = []string{"containerd", "docker"}

// Runtimes returns those that the minor can run with, containerd first.
func (r Release) Runtimes() []string {
	return slices.DeleteFunc(slices.Clone(Runtimes), func(name string) bool {
		return !slices.ContainsFunc(r.Components, func(d Download) bool { return d.Name == name })
	})
}

// DockerMajor returns the first number of the version of docker in r, 20 for 20.10.23, and 0
// if r has no docker.
func (r Release) DockerMajor() int {
	n := 0
	for _, d := range r.Components {
		if major, _, _ := strings.Cut(d.Version, "."); d.Name == "docker" {
			n, _ = strconv.Atoi(major)
		}
	}
	return n
}

// neededComponents are required by install.
var neededComponents = []string{"kubernetes", "etcd", "containerd", "runc", "crictl", "cni-plugins"}

// knownDaemons are the daemons that args may configure.
var knownDaemons = []string{
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "etcd", "containerd",
}

func (r Release) validate(name string) []strict.Problem {
	c := &strict.Checks{}
	if v, err := ParseVersion(r.Minor); err != nil || v.Patch >= 0 || r.Minor != name {
		c.Add("minor", "found %q in the file of %s", r.Minor, name)
	}
	if v, err := ParseVersion(r.Version); err != nil || v.Patch < 0 || v.String() != r.Version || v.MinorString() != r.Minor {
		c.Add("version", "found %q, want a full version of %s without v", r.Version, r.Minor)
	}
	if _, err := time.Parse(time.DateOnly, r.EndOfLife); err != nil && r.EndOfLife != "" {
		c.Add("endOfLife", "%q is not a date such as 2027-01-31", r.EndOfLife)
	}
	checkKernel(c, "kernel", r.Kernel)
	checkKernel(c, "testedKernel", r.TestedKernel)
	checkArches(c, "defaults.arches", r.Defaults.Arches)
	if len(r.Defaults.Distros) == 0 {
		c.Add("defaults.distros", "none given")
	}
	c.Among("defaults.runtime", r.Defaults.Runtime, Runtimes...)
	r.validateComponents(c)
	for _, role := range []string{"pause", "coredns"} {
		if _, ok := r.Images[role]; !ok {
			c.Add(strict.JoinPath("images", role), "missing")
		}
	}
	for _, role := range slices.Sorted(maps.Keys(r.Images)) {
		checkImage(c, strict.JoinPath("images", role), r.Images[role])
	}
	for _, daemon := range slices.Sorted(maps.Keys(r.Args)) {
		p := strict.JoinPath("args", daemon)
		c.Among(p, daemon, knownDaemons...)
		for _, k := range slices.Sorted(maps.Keys(r.Args[daemon])) {
			if v := r.Args[daemon][k]; v != nil {
				c.Flag(strict.JoinPath(p, k), k, *v)
			} else {
				c.Flag(strict.JoinPath(p, k), k, "")
			}
		}
	}
	for _, m := range slices.Sorted(maps.Keys(r.ProxyModes)) {
		p := strict.JoinPath("proxyModes", m)
		c.Among(p, m, "iptables", "ipvs", "nftables")
		c.OneLine(p, r.ProxyModes[m])
	}
	r.Features.validate(c)
	r.validatePatches(c)
	return c.Problems
}

func (r Release) validateComponents(c *strict.Checks) {
	seen := map[string]bool{}
	for _, d := range r.Components {
		p := "components[" + d.Name + "]"
		if !strict.IsName(d.Name) {
			c.Add(p+".name", "%q: want lower case letters, digits and dashes", d.Name)
		}
		if seen[d.Name] {
			c.Add(p, "duplicate")
		}
		seen[d.Name] = true
		if v, err := ParseVersion(d.Version); d.Name == "containerd" && r.Features.CRIVersion == "v1alpha2" && err == nil && v.Major >= 2 {
			c.Add(p+".version", "%s has no CRI v1alpha2, which the kubelet of %s needs: want 1.7", d.Version, r.Minor)
		}
		if d.Version == "" || strings.ContainsFunc(d.Version, strict.Unprintable) {
			c.Add(p+".version", "found %q, want the version as upstream writes it", d.Version)
		}
		for _, a := range r.Defaults.Arches {
			if _, ok := d.Arches[a]; !ok {
				c.Add(p+".arches", "has no %s, which is a default of the release", a)
			}
		}
		for _, a := range slices.Sorted(maps.Keys(d.Arches)) {
			at := p + ".arches." + a
			c.Among(at, a, Arches...)
			c.URL(at+".url", d.Arches[a].URL, d.Arches[a].Digest != "")
			c.Digest(at+".digest", d.Arches[a].Digest)
		}
		names := map[string]bool{}
		for i, m := range d.Members {
			base := path.Base(m)
			if !strict.IsPlainPath(strings.ReplaceAll(m, "{arch}", "x")) || names[base] {
				c.Add(fmt.Sprintf("%s.members[%d]", p, i), "%q: want a plain relative path with a file name of its own", m)
			}
			names[base] = true
		}
	}
	for _, n := range neededComponents {
		if !seen[n] {
			c.Add("components", "%q is missing", n)
		}
	}
}

func (f Features) validate(c *strict.Checks) {
	c.Among("features.criVersion", f.CRIVersion, "v1alpha2", "v1")
	c.Among("features.containerdConfig", fmt.Sprint(f.ContainerdConfig), "2", "3")
	c.Among("features.podSecurity", f.PodSecurity, "", "v1beta1", "v1")
	for p, list := range map[string][]string{
		"features.controlPlaneLabels": f.ControlPlaneLabels, "features.controlPlaneTaints": f.ControlPlaneTaints,
	} {
		if len(list) == 0 {
			c.Add(p, "none given")
		}
		for i, k := range list {
			if !strict.IsLabelKey(k) {
				c.Add(fmt.Sprintf("%s[%d]", p, i), "%q is not a label key", k)
			}
		}
	}
}

func checkImage(c *strict.Checks, path string, i Image) {
	if err := strict.CheckImageRef(i.Ref); err != nil {
		c.Add(strict.JoinPath(path, "ref"), "%q is not a full image reference such as registry.k8s.io/pause:3.10: %v", i.Ref, err)
	}
	c.Digest(strict.JoinPath(path, "digest"), i.Digest)
}
