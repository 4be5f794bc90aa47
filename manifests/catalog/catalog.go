package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// apiVersion is the version of the documents of a catalog.
const apiVersion = "offk8s.dev/v1"

// Kinds of documents.
const (
	KindRelease = "Release" // kubernetes/<minor>.yaml
	KindCNI     = "CNI"     // cni/<name>/cni.yaml
	KindAddon   = "Addon"   // addons/<name>/addon.yaml
	KindDistro  = "Distro"  // distro/<id>-<major>.yaml
)

// Arches are the architectures that bundles may have, in Go's spelling.
var Arches = []string{"amd64", "arm64"}

// Catalog holds Kubernetes releases by minor, and pod networks, addons and
// operating systems by name. It is read-only after Embedded and
// Overlay, and then safe for concurrent use.
type Catalog struct {
	// releases are read when they are asked for: a program start should not pay for
	// every minor.
	releases map[string]func() (Release, error)
	cnis     map[string]CNI
	addons   map[string]Addon
	distros  map[string]Distro
	keys     map[string]string // armoured OpenPGP keys by file name
	// templates are the object templates of pod networks and addons by path, such as
	// "cni/flannel/flannel-kube-system.yaml".
	templates map[string]string

	// DNSObjects is the text/template of the cluster DNS objects, see
	// RenderObjects. Each Release carries it as DNSTemplate.
	DNSObjects string
}

// Release returns the release that version names: "1.36", "1.36.3" or either
// with a leading v. A minor stands for its default patch. If the catalog has other
// patches or minors alone, the error names them.
func (c *Catalog) Release(version string) (Release, error) {
	v, err := ParseVersion(version)
	if err != nil {
		return Release{}, err
	}
	load, ok := c.releases[v.MinorString()]
	if !ok {
		return Release{}, fmt.Errorf("kubernetes %q is not in the catalog, which has %s", version, strings.Join(c.minors(), ", "))
	}
	r, err := load()
	if err == nil {
		err = firstProblem(c.checkDefaults(r))
	}
	if err != nil {
		return Release{}, fmt.Errorf("kubernetes %s: %w", v.MinorString(), err)
	}
	if v.Patch >= 0 && v.String() != r.Version {
		if _, ok := r.Patches[v.String()]; !ok {
			return Release{}, fmt.Errorf("kubernetes %q is not in the catalog, which has %s", version, strings.Join(r.PatchVersions(), ", "))
		}
		if r, err = r.withPatch(v.String()); err != nil {
			return Release{}, err
		}
	}
	r.Patches = nil
	r.DNSTemplate = c.DNSObjects
	return r, nil
}

// minors returns the minors of the catalog, oldest first.
func (c *Catalog) minors() []string {
	return slices.SortedFunc(maps.Keys(c.releases), compareMinors)
}

// Versions returns the releases with their patches, oldest minor first.
func (c *Catalog) Versions() []Release {
	var out []Release
	for _, minor := range c.minors() {
		r, err := c.releases[minor]()
		if err != nil {
			// Overlay has read what is not built in, and a test reads all that is.
			panic(err)
		}
		r.DNSTemplate = c.DNSObjects
		out = append(out, r)
	}
	return out
}

// CNI returns the pod network called name.
func (c *Catalog) CNI(name string) (CNI, error) {
	n, ok := c.cnis[name]
	if !ok {
		return CNI{}, fmt.Errorf("pod network %q is not in the catalog, which has %s%s", name, strings.Join(c.CNINames(), ", "), near(name, c.CNINames()))
	}
	return n, nil
}

// CNINames returns the names of the pod networks, sorted.
func (c *Catalog) CNINames() []string { return slices.Sorted(maps.Keys(c.cnis)) }

// Distro returns the operating system called name, with its keys.
func (c *Catalog) Distro(name string) (Distro, error) {
	d, ok := c.distros[name]
	if !ok {
		return Distro{}, fmt.Errorf("distribution %q is not in the catalog, which has %s%s", name, strings.Join(c.DistroNames(), ", "), c.nearDistro(name))
	}
	return d, nil
}

// DistroNames returns the names of the operating systems, sorted.
func (c *Catalog) DistroNames() []string { return slices.Sorted(maps.Keys(c.distros)) }

func checkArches(c *strict.Checks, path string, arches []string) {
	if len(arches) == 0 {
		c.Add(path, "none given")
	}
	for i, a := range arches {
		c.Among(fmt.Sprintf("%s[%d]", path, i), a, Arches...)
	}
}
