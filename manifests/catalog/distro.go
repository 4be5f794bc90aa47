package catalog

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Distro is an operating system: distro/<id>-<major>.yaml.
type Distro struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`
	Name       string `yaml:"name" json:"name"` // "rocky-9"
	ID         string `yaml:"id" json:"id"`     // os-release ID
	// Major is os-release VERSION_ID or what is before a dot of it: "9", "22.04".
	Major  string `yaml:"major" json:"major"`
	Family string `yaml:"family" json:"family"` // "redhat" or "debian"
	// Arches are the architectures of the sources below, in Go's spelling.
	Arches []string `yaml:"arches" json:"arches"`

	Yum []YumRepository `yaml:"yum,omitempty" json:"yum,omitempty" merge:"id"`
	Apt []AptSource     `yaml:"apt,omitempty" json:"apt,omitempty"`
	// Packages are installed on every host.
	Packages []string `yaml:"packages" json:"packages"`
	// RolePackages are installed on hosts with a role, by role: "load-balancer", and
	// "kube-proxy-ipvs" or "kube-proxy-nftables" for that mode of kube-proxy.
	RolePackages map[string][]string `yaml:"rolePackages,omitempty" json:"rolePackages,omitempty"`
	// MetadataCompression is that of the bundle's repository: "gz" (EL7, EL8) or "zst".
	MetadataCompression string `yaml:"metadataCompression" json:"metadataCompression"`
	// Exclude lists packages to leave out of the closure (globs on the name).
	Exclude []string `yaml:"exclude,omitempty" json:"exclude,omitempty"`
	// Minimal names packages that every installation of the distribution has. Pack leaves
	// them and all that they need out of the closure when asked to (assumeInstalled).
	Minimal []string `yaml:"minimal,omitempty" json:"-"`
	// Keys are the armoured OpenPGP public keys that KeyFiles of the sources
	// name, by file name; read when the catalog is loaded.
	Keys map[string]string `yaml:"-" json:"keys"`

	// Like are os-release IDs, also in ID_LIKE, of relatives: their hosts of the same
	// major version use these packages too if the bundle has none of their own.
	Like []string `yaml:"like,omitempty" json:"like,omitempty"`

	// Kernel, Cgroups and Notes are for pack, and a Lock does not contain them.
	// Kernel is the version that the distribution came with ("3.10"), Cgroups the
	// versions that a host can start with, the default first; empty means unknown.
	// Notes says what an administrator must do on the hosts before.
	Kernel  string `yaml:"kernel,omitempty" json:"-"`
	Cgroups []int  `yaml:"cgroups,omitempty" json:"-"`
	Notes   string `yaml:"notes,omitempty" json:"-"`
}

// YumRepository is an upstream yum repository; "{arch}" in BaseURL is replaced by x86_64 or aarch64.
type YumRepository struct {
	ID       string   `yaml:"id" json:"id"`
	BaseURL  string   `yaml:"baseURL" json:"baseURL"`
	KeyFiles []string `yaml:"keyFiles" json:"keyFiles"` // keys/<file>
	// SignedMetadata requires a valid signature in repomd.xml.asc.
	SignedMetadata bool `yaml:"signedMetadata" json:"signedMetadata"`
	Priority       int  `yaml:"priority,omitempty" json:"priority,omitempty"`
}

// AptSource is a suite of a Debian-style archive. Archive is a logical name
// ("debian", "debian-security"); its URL comes from the packing machine's apt
// configuration or from a rewrite of "apt:<archive>".
type AptSource struct {
	Archive string `yaml:"archive" json:"archive"`
	// Arches are the architectures that this archive has, in Go's spelling; empty
	// means all of the distribution.
	Arches     []string `yaml:"arches,omitempty" json:"arches,omitempty"`
	Suite      string   `yaml:"suite" json:"suite"`
	Components []string `yaml:"components" json:"components"`
	KeyFiles   []string `yaml:"keyFiles" json:"keyFiles"`
}

// AllPackages returns the packages of every host and of every role, sorted by name and
// without duplicates.
func (d Distro) AllPackages() []string {
	out := slices.Clone(d.Packages)
	for _, names := range d.RolePackages {
		out = append(out, names...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Has reports whether the archive has packages of an architecture.
func (a AptSource) Has(arch string) bool {
	return len(a.Arches) == 0 || slices.Contains(a.Arches, arch)
}

// keyFiles returns the key files of all sources, sorted, without duplicates.
func (d Distro) keyFiles() []string {
	var out []string
	for _, y := range d.Yum {
		out = append(out, y.KeyFiles...)
	}
	for _, a := range d.Apt {
		out = append(out, a.KeyFiles...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (d Distro) validate(name string) []strict.Problem {
	c := &strict.Checks{}
	if d.Name != name || d.Name != strings.ToLower(d.ID)+"-"+d.Major || !strict.IsName(name) {
		c.Add("name", "found %q in the file of %q, want <id>-<major> in lower case", d.Name, name)
	}
	c.Among("family", d.Family, "redhat", "debian")
	c.Among("metadataCompression", d.MetadataCompression, "gz", "zst")
	checkArches(c, "arches", d.Arches)
	if (d.Family == "redhat") != (len(d.Yum) > 0) || (d.Family == "debian") != (len(d.Apt) > 0) {
		c.Add("family", "redhat needs yum repositories, debian needs apt sources, and neither those of the other")
	}
	for _, y := range d.Yum {
		p := "yum[" + y.ID + "]"
		if !strict.IsName(y.ID) {
			c.Add(p+".id", "%q: want lower case letters, digits and dashes", y.ID)
		}
		// Plain http is enough if the packages are signed.
		validateBase(c, p+".baseURL", y.BaseURL)
		c.URL(p+".baseURL", strings.ReplaceAll(y.BaseURL, "{arch}", "x86_64"), len(y.KeyFiles) > 0)
		d.validateKeys(c, p, y.KeyFiles)
	}
	for i, a := range d.Apt {
		p := fmt.Sprintf("apt[%d]", i)
		switch {
		case strings.HasSuffix(a.Suite, "/") || a.Suite != "" && len(a.Components) == 0:
			c.Add(p, "suite %q without components is a flat archive, which offk8s cannot read: want one with dists/<suite>/<component>", a.Suite)
		case !strict.IsName(a.Archive) || !strict.IsName(a.Suite) || len(a.Components) == 0:
			c.Add(p, "want an archive, a suite and components")
		}
		if len(a.Arches) > 0 {
			checkArches(c, p+".arches", a.Arches)
		}
		d.validateKeys(c, p, a.KeyFiles)
	}
	if len(d.Packages) == 0 {
		c.Add("packages", "none given")
	}
	validatePackages(c, "packages", d.Packages)
	for _, role := range slices.Sorted(maps.Keys(d.RolePackages)) {
		p := "rolePackages." + role
		if !strict.IsName(role) {
			c.Add(p, "%q is not the name of a role", role)
		}
		validatePackages(c, p, d.RolePackages[role])
	}
	checkKernel(c, "kernel", d.Kernel)
	for i, v := range d.Cgroups {
		c.Among(fmt.Sprintf("cgroups[%d]", i), fmt.Sprint(v), "1", "2")
	}
	for i, g := range d.Exclude {
		if _, err := path.Match(g, ""); err != nil {
			c.Add(fmt.Sprintf("exclude[%d]", i), "%q: %v", g, err)
		}
	}
	return c.Problems
}

func validatePackages(c *strict.Checks, p string, names []string) {
	for i, n := range names {
		if !strict.IsPackageName(n) {
			c.Add(fmt.Sprintf("%s[%d]", p, i), "%q is not the name of a package", n)
		}
	}
}

// validateBase refuses what dnf would replace in a base URL, and what cannot stand
// before a path.
func validateBase(c *strict.Checks, p, base string) {
	switch rest := strings.ReplaceAll(base, "{arch}", ""); {
	case strings.ContainsAny(rest, "${}"):
		c.Add(p, "%q: want no variable but {arch}, which stands for x86_64 or aarch64", base)
	case strings.ContainsAny(rest, "?#"):
		c.Add(p, "%q: want no query and no fragment, since the paths of files are added to it", base)
	}
}

func (d Distro) validateKeys(c *strict.Checks, p string, files []string) {
	for i, f := range files {
		if d.Keys[f] == "" {
			c.Add(fmt.Sprintf("%s.keyFiles[%d]", p, i), "keys/%s is not in the catalog", f)
		}
	}
	if len(files) == 0 && d.Family == "redhat" {
		c.Add(p+".keyFiles", "none given, packages could not be checked")
	}
}
