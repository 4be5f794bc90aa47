package catalog

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// CNI is a pod network: cni/<name>/cni.yaml.
type CNI struct {
	APIVersion string       `yaml:"apiVersion" json:"apiVersion"`
	Kind       string       `yaml:"kind" json:"kind"`
	Name       string       `yaml:"name" json:"name"`
	Releases   []CNIRelease `yaml:"releases" json:"releases" merge:"from"` // the first one with the minor in its range wins
}

// CNIRelease is a version of a CNI and its range of Kubernetes minors.
type CNIRelease struct {
	From    string           `yaml:"from" json:"from"`                 // first minor, inclusive
	To      string           `yaml:"to,omitempty" json:"to,omitempty"` // last minor, inclusive; empty: open
	Version string           `yaml:"version" json:"version"`
	Images  map[string]Image `yaml:"images" json:"images"` // by role, the name in the template
	// Template is the file beside cni.yaml that holds the Kubernetes objects as
	// text/template over .PodCIDR, .Images.<role>, …; Objects is its content,
	// read when the catalog is loaded.
	Template string `yaml:"template" json:"-"`
	Objects  string `yaml:"-" json:"objects"`
	// Ports, such as "8472/udp", are opened between the hosts.
	Ports []string `yaml:"ports,omitempty" json:"ports,omitempty"`
	// Modules are kernel modules that every node loads if its kernel has them;
	// Sysctls are set on every node, cluster.yaml's over them.
	Modules []string          `yaml:"modules,omitempty" json:"modules,omitempty"`
	Sysctls map[string]string `yaml:"sysctls,omitempty" json:"sysctls,omitempty"`
	// Ready are files that a node has when its pod network is up, and not before; an
	// interface is /proc/sys/net/ipv4/conf/NAME. Logs are patterns of the logs that an
	// error quotes if they are missing, "/var/log/pods/*_kube-flannel-ds-*/*/*.log".
	Ready []string `yaml:"ready,omitempty" json:"ready,omitempty"`
	Logs  []string `yaml:"logs,omitempty" json:"logs,omitempty"`
	// Reset removes the interfaces, the files and directories, the iptables chains
	// by their prefix ("FLANNEL-"), and the rules of other chains by the prefix of
	// their comment ("flanneld").
	Interfaces   []string `yaml:"interfaces,omitempty" json:"interfaces,omitempty"`
	Files        []string `yaml:"files,omitempty" json:"files,omitempty"`
	Chains       []string `yaml:"chains,omitempty" json:"chains,omitempty"`
	RuleComments []string `yaml:"ruleComments,omitempty" json:"ruleComments,omitempty"`
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

var (
	linkName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
	portName = regexp.MustCompile(`^[1-9][0-9]{0,4}/(tcp|udp)$`)
	// chainPrefix ends with a separator, so that it never matches a built-in chain.
	chainPrefix   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{1,25}[_-]$`)
	commentPrefix = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_:.-]{2,63}$`)
	moduleName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
)

func (n CNI) validate(name string) []strict.Problem {
	c := &strict.Checks{}
	if n.Name != name || !strict.IsName(name) {
		c.Add("name", "found %q in the directory of %q", n.Name, name)
	}
	if len(n.Releases) == 0 {
		c.Add("releases", "none given")
	}
	for _, r := range n.Releases {
		r.validate(c, "releases["+r.From+"]")
	}
	return c.Problems
}

func (r CNIRelease) validate(c *strict.Checks, p string) {
	for field, m := range map[string]string{"from": r.From, "to": r.To} {
		if v, err := ParseVersion(m); (err != nil || v.Patch >= 0) && (field == "from" || m != "") {
			c.Add(p+"."+field, "found %q, want a minor such as 1.36", m)
		}
	}
	if r.To != "" && compareMinors(r.From, r.To) > 0 {
		c.Add(p+".to", "%s is before %s", r.To, r.From)
	}
	if r.Version == "" {
		c.Add(p+".version", "missing")
	}
	roles := slices.Sorted(maps.Keys(r.Images))
	for _, role := range roles {
		checkImage(c, strict.JoinPath(p+".images", role), r.Images[role])
	}
	if _, err := RenderObjects(r.Objects, sampleData(roles...)); err != nil || r.Objects == "" {
		c.Add(p+".template", "%q is not a template of objects beside cni.yaml: %v", r.Template, err)
	}
	for field, list := range map[string][]string{"files": r.Files, "ready": r.Ready, "logs": r.Logs} {
		for i, f := range list {
			// Reset removes files, so a directory that others share must not be here.
			if path.Clean(f) != f || strings.Count(f, "/") < 2 || !path.IsAbs(f) || strings.ContainsFunc(f, strict.Unprintable) {
				c.Add(fmt.Sprintf("%s.%s[%d]", p, field, i), "%q: want an absolute path of two levels or more", f)
			}
		}
	}
	for _, x := range []struct {
		field  string
		values []string
		form   *regexp.Regexp
		want   string
	}{
		{"ports", r.Ports, portName, "the form 8472/udp"},
		{"modules", r.Modules, moduleName, "the name of a kernel module"},
		{"interfaces", r.Interfaces, linkName, "the name of a network interface"},
		{"chains", r.Chains, chainPrefix, "a prefix of chains that ends in - or _"},
		{"ruleComments", r.RuleComments, commentPrefix, "a prefix of comments without spaces"},
	} {
		c.Each(p+"."+x.field, x.values, func(p, v string) { c.Match(p, v, x.form.MatchString, x.want) })
	}
	c.Sysctls(p+".sysctls", r.Sysctls)
}

// sampleData returns data that every valid template can be rendered with.
func sampleData(roles ...string) ObjectData {
	d := ObjectData{PodCIDR: "10.244.0.0/16", DNSAddress: "10.96.0.10", DNSDomain: "cluster.local", Forward: true, Images: map[string]string{}}
	for _, r := range roles {
		d.Images[r] = "registry.example/" + r + ":1"
	}
	return d
}
