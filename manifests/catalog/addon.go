package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Addon is a set of Kubernetes objects that clusters can have: addons/<name>/addon.yaml.
type Addon struct {
	APIVersion string         `yaml:"apiVersion" json:"apiVersion"`
	Kind       string         `yaml:"kind" json:"kind"`
	Name       string         `yaml:"name" json:"name"`
	Releases   []AddonRelease `yaml:"releases" json:"releases" merge:"from"` // the first one with the minor in its range wins
}

// AddonRelease is a version of an addon and its range of Kubernetes minors.
type AddonRelease struct {
	From    string           `yaml:"from" json:"from,omitempty"`       // first minor, inclusive
	To      string           `yaml:"to,omitempty" json:"to,omitempty"` // last minor, inclusive; empty: open
	Version string           `yaml:"version" json:"version,omitempty"`
	Images  map[string]Image `yaml:"images" json:"images,omitempty"` // by role, the name in the template
	// Template is the file beside addon.yaml with the Kubernetes objects for
	// RenderObjects; Objects is its content, read when the catalog is loaded.
	Template string `yaml:"template" json:"-"`
	Objects  string `yaml:"-" json:"objects,omitempty"`
	// NodeDNS marks a DNS cache on every node, which gets the addresses of ObjectData.LocalDNS.
	NodeDNS bool `yaml:"nodeDNS,omitempty" json:"nodeDNS,omitempty"`
	// PeerPort is the port of each node at which the addon answers for images that other nodes have, 0 if it does not.
	// containerd asks it by digest alone, before the mirrors.
	PeerPort int `yaml:"peerPort,omitempty" json:"peerPort,omitempty"`
	// Reset removes the interfaces, and iptables rules by the prefix of their comment.
	Interfaces   []string `yaml:"interfaces,omitempty" json:"interfaces,omitempty"`
	RuleComments []string `yaml:"ruleComments,omitempty" json:"ruleComments,omitempty"`
	// Literal marks Objects that are no template, as those of the user are.
	Literal bool `yaml:"-" json:"literal,omitempty"`
}

// For returns the version of the addon for a Kubernetes minor.
func (a Addon) For(minor string) (AddonRelease, error) {
	for _, r := range a.Releases {
		if compareMinors(r.From, minor) <= 0 && (r.To == "" || compareMinors(minor, r.To) <= 0) {
			return r, nil
		}
	}
	var has []string
	for _, r := range a.Releases {
		has = append(has, r.From+" to "+cmp.Or(r.To, "the newest"))
	}
	return AddonRelease{}, fmt.Errorf("addon %q has no version for kubernetes %s, only for %s", a.Name, minor, strings.Join(has, ", "))
}

// Addon returns the addon called name.
func (c *Catalog) Addon(name string) (Addon, error) {
	a, ok := c.addons[name]
	if !ok {
		return Addon{}, fmt.Errorf("addon %q is not in the catalog, which has %s%s", name, strings.Join(c.AddonNames(), ", "), near(name, c.AddonNames()))
	}
	return a, nil
}

// AddonNames returns the names of the addons, sorted.
func (c *Catalog) AddonNames() []string { return slices.Sorted(maps.Keys(c.addons)) }

func (a Addon) validate(name string) []strict.Problem {
	c := &strict.Checks{}
	if a.Name != name || !strict.IsName(name) {
		c.Add("name", "found %q in the directory of %q", a.Name, name)
	}
	if len(a.Releases) == 0 {
		c.Add("releases", "none given")
	}
	for _, r := range a.Releases {
		r.validate(c, "releases["+r.From+"]")
	}
	return c.Problems
}

func (r AddonRelease) validate(c *strict.Checks, p string) {
	checkRange(c, p, r.From, r.To)
	if r.Version == "" {
		c.Add(p+".version", "missing")
	}
	c.Each(p+".interfaces", r.Interfaces, func(p, v string) { c.Match(p, v, linkName.MatchString, "the name of a network interface") })
	c.Each(p+".ruleComments", r.RuleComments, func(p, v string) {
		c.Match(p, v, commentPrefix.MatchString, "a prefix of comments without spaces")
	})
	if r.PeerPort != 0 && !strings.Contains(r.Objects, fmt.Sprintf("hostPort: %d\n", r.PeerPort)) {
		c.Add(p+".peerPort", "no hostPort of %q is %d", r.Template, r.PeerPort)
	}
	roles := slices.Sorted(maps.Keys(r.Images))
	for _, role := range roles {
		checkImage(c, strict.JoinPath(p+".images", role), r.Images[role])
	}
	if _, err := RenderObjects(r.Objects, sampleData(roles...)); err != nil || r.Objects == "" {
		c.Add(p+".template", "%q is not a template of objects beside addon.yaml: %v", r.Template, err)
	}
}

// checkRange validates a range of minors.
func checkRange(c *strict.Checks, p, from, to string) {
	for field, m := range map[string]string{"from": from, "to": to} {
		if v, err := ParseVersion(m); (err != nil || v.Patch >= 0) && (field == "from" || m != "") {
			c.Add(p+"."+field, "found %q, want a minor such as 1.36", m)
		}
	}
	if to != "" && compareMinors(from, to) > 0 {
		c.Add(p+".to", "%s is before %s", to, from)
	}
}

// linkAddons copies templates into the addons that name them.
func (l *loader) linkAddons() {
	for name, a := range l.to.addons {
		a.Releases = slices.Clone(a.Releases)
		for i := range a.Releases {
			a.Releases[i].Objects = l.to.templates[path.Join("addons", name, a.Releases[i].Template)]
		}
		l.to.addons[name] = a
	}
}
