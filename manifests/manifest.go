package manifests

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Manifest is the wanted content of a bundle, which `offk8s pack` resolves. It
// comes from flags and pack.yaml.
type Manifest struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"` // offk8s.dev/v1
	Kind       string `yaml:"kind" json:"kind"`             // Manifest

	// Name of the bundle; empty means "kubernetes-<minor>".
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Kubernetes is a minor ("1.36") or a full version ("1.36.3") of the catalog.
	Kubernetes string `yaml:"kubernetes" json:"kubernetes"`
	// Arches in Go's spelling ("amd64", "arm64") or that of uname -m; empty means the
	// release's default.
	Arches []string `yaml:"arches,omitempty" json:"arches,omitempty"`
	// Distros are catalog names ("centos-7"); empty means the release's default.
	Distros []string `yaml:"distros,omitempty" json:"distros,omitempty"`
	CNI     string   `yaml:"cni,omitempty" json:"cni,omitempty"`         // pod network of the catalog; empty means the release's default
	Runtime string   `yaml:"runtime,omitempty" json:"runtime,omitempty"` // containerd or docker; empty means the release's default

	Images []string `yaml:"images,omitempty" json:"images,omitempty"` // more image references
	// Attachments is which signatures, attestations and SBOMs that hang on the images in their
	// registries come along: all (the default) or none.
	Attachments string `yaml:"attachments,omitempty" json:"attachments,omitempty"`
	// Signatures are the images that need a signature by a key, of those that cosign makes.
	Signatures []ManifestSignature `yaml:"signatures,omitempty" json:"signatures,omitempty"`

	Packages []string    `yaml:"packages,omitempty" json:"packages,omitempty"` // more OS packages, for every distribution
	Files    []ExtraFile `yaml:"files,omitempty" json:"files,omitempty"`       // more files

	// AssumeInstalled is which OS packages every host has already, so that they and all that
	// they need are left out: none (the default), or minimal, those of the distribution's
	// smallest installation.
	AssumeInstalled string `yaml:"assumeInstalled,omitempty" json:"assumeInstalled,omitempty"`

	// Charts are Helm charts, which come with the images that they name.
	Charts []ManifestChart `yaml:"charts,omitempty" json:"charts,omitempty"`

	// Addons are sets of Kubernetes objects, in the order in which install applies them.
	Addons []ManifestAddon `yaml:"addons,omitempty" json:"addons,omitempty"`

	// Rewrites replace upstream URLs and registries; digests stay as they are.
	Rewrites []Rewrite `yaml:"rewrites,omitempty" json:"rewrites,omitempty"`
	// Keyrings are OpenPGP keyring files by distro, in addition to the catalog's.
	Keyrings map[string]string `yaml:"keyrings,omitempty" json:"keyrings,omitempty"`

	// Sequence grows with every bundle of the same name: hosts refuse an older one.
	// Zero means 1.
	Sequence int64     `yaml:"sequence,omitempty" json:"sequence,omitempty"`
	Expires  time.Time `yaml:"expires,omitempty" json:"expires,omitzero"` // day after which offk8s warns about the bundle, UTC
}

// Values of Manifest.Attachments; empty is as AttachmentsAll.
const (
	AttachmentsAll  = "all"
	AttachmentsNone = "none"
)

// Values of Manifest.AssumeInstalled; empty is as AssumeNone.
const (
	AssumeNone    = "none"
	AssumeMinimal = "minimal"
)

// ManifestAddon is an addon of the catalog or, with Files, Kubernetes objects of the user.
type ManifestAddon struct {
	Name string `yaml:"name" json:"name"` // of an addon of the catalog, or of a set of objects of yours
	// Files are files with YAML or JSON objects, or directories of them.
	Files []string `yaml:"files,omitempty" json:"files,omitempty"`
}

// ManifestSignature requires signatures of images.
type ManifestSignature struct {
	// Images is the prefix of the names of the images: a registry, or a path in one.
	Images string `yaml:"images" json:"images"`
	Key    string `yaml:"key" json:"key"` // file with the public key (PEM) that must have signed them, as cosign.pub
}

// ExtraFile is a file to add to a bundle.
type ExtraFile struct {
	Name   string `yaml:"name" json:"name"`                         // path of the file on the mirror, below /files/
	URL    string `yaml:"url" json:"url"`                           // where pack downloads it
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"` // sha256 or sha512, such as sha256:<hex>
}

// ManifestChart is a Helm chart in a repository or in a registry, or with File one of this machine.
type ManifestChart struct {
	// Repository is the URL of a chart repository (https://…) or of the charts in a registry (oci://…).
	Repository string `yaml:"repository,omitempty" json:"repository,omitempty"`
	Name       string `yaml:"name,omitempty" json:"name,omitempty"`       // of the chart in the repository
	Version    string `yaml:"version,omitempty" json:"version,omitempty"` // exact version, such as 1.2.3
	File       string `yaml:"file,omitempty" json:"file,omitempty"`       // archive (.tgz) of a chart, in place of repository, name and version
	// Digest of the archive; of a chart in a registry, that of its manifest, as helm pull prints it.
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
	// Images that the chart needs. Empty: pack looks for them in the chart (docs/own-content.md).
	Images []string `yaml:"images,omitempty" json:"images,omitempty"`
}

// OCIScheme begins the address of charts in a registry.
const OCIScheme = "oci://"

// Label names the chart in messages.
func (c ManifestChart) Label() string {
	if c.File != "" {
		return "chart " + c.File
	}
	return "chart " + c.Name + " " + c.Version
}

// Rewrite replaces the URL or registry prefix From by To.
type Rewrite struct {
	From string `yaml:"from" json:"from"` // what upstream addresses begin with
	To   string `yaml:"to" json:"to"`     // what to use instead
}

// Validate returns the problems in the values of m. Resolve checks that the
// catalog has the names.
func (m *Manifest) Validate() []strict.Problem {
	c := &strict.Checks{}
	if m.Name != "" && !isBundleName(m.Name) {
		c.Add("name", "%q: want lower case letters, digits, dots and dashes", m.Name)
	}
	if _, err := catalog.ParseVersion(m.Kubernetes); err != nil {
		c.Add("kubernetes", "%v", err)
	}
	c.Each("arches", m.Arches, func(p, s string) {
		if _, ok := MachineArch(s); !ok {
			c.Among(p, s, catalog.Arches...)
		}
	})
	c.Each("distros", m.Distros, func(p, s string) { validateDistro(c, p, s) })
	for p, s := range map[string]string{"cni": m.CNI, "runtime": m.Runtime} {
		if s != "" {
			c.Match(p, s, strict.IsName, "a name of the catalog")
		}
	}
	c.Each("images", m.Images, func(p, s string) {
		if err := checkTagged(s); err != nil {
			c.Add(p, "found %q, want a full reference with a tag or digest such as docker.io/library/nginx:1.29: %v", s, err)
		}
	})
	c.Each("packages", m.Packages, func(p, s string) { c.Match(p, s, strict.IsPackageName, "the name of a package") })
	if m.Attachments != "" {
		c.Among("attachments", m.Attachments, AttachmentsAll, AttachmentsNone)
	}
	if m.AssumeInstalled != "" {
		c.Among("assumeInstalled", m.AssumeInstalled, AssumeNone, AssumeMinimal)
	}
	m.validateSignatures(c)
	m.validateFiles(c)
	m.validateCharts(c)
	m.validateAddons(c)
	for i, r := range m.Rewrites {
		for k, s := range map[string]string{"from": r.From, "to": r.To} {
			c.Match(fmt.Sprintf("rewrites[%d].%s", i, k), s, plainWord.MatchString, "a URL or registry prefix")
		}
	}
	for _, d := range slices.Sorted(maps.Keys(m.Keyrings)) {
		p := strict.JoinPath("keyrings", d)
		c.Match(p, d, strict.IsName, "the name of a distribution")
		validateKeyFile(c, p, m.Keyrings[d])
	}
	if m.Sequence < 0 {
		c.Add("sequence", "found %d, want 1 or more", m.Sequence)
	}
	return c.Problems
}

// validateDistro checks the name of a distribution at a path.
func validateDistro(c *strict.Checks, path, name string) {
	want := "the name of a distribution such as rocky-9"
	if lower := strings.ToLower(name); lower != name && strict.IsName(lower) {
		if i := strings.IndexAny(lower, "0123456789"); i > 0 && lower[i-1] != '-' {
			lower = lower[:i] + "-" + lower[i:] // Rocky9
		}
		want += "; did you mean " + lower + "?"
	}
	c.Match(path, name, strict.IsName, want)
}

// validateKeyFile checks the name of a file with a key at a path.
func validateKeyFile(c *strict.Checks, path, file string) {
	if file == "" {
		c.Add(path, "no file given")
	}
	c.OneLine(path, file)
}

func (m *Manifest) validateSignatures(c *strict.Checks) {
	if len(m.Signatures) > 0 && m.Attachments == AttachmentsNone {
		c.Add("signatures", "found attachments: none, which leaves the signatures out")
	}
	for i, s := range m.Signatures {
		p := fmt.Sprintf("signatures[%d]", i)
		c.Match(p+".images", s.Images, plainWord.MatchString, "a registry, or a path in one")
		validateKeyFile(c, p+".key", s.Key)
	}
}

func (m *Manifest) validateAddons(c *strict.Checks) {
	seen := map[string]bool{}
	for i, a := range m.Addons {
		p := fmt.Sprintf("addons[%d].name", i)
		c.Match(p, a.Name, strict.IsName, "lower case letters, digits and dashes")
		if seen[a.Name] {
			c.Add(p, "duplicate %q", a.Name)
		}
		seen[a.Name] = true
		c.Each(fmt.Sprintf("addons[%d].files", i), a.Files, func(p, s string) { c.OneLine(p, s) })
	}
}

// checkTagged returns an error unless ref is a full image reference with a tag or a
// digest.
func checkTagged(ref string) error {
	err := strict.CheckImageRef(ref)
	if i, _ := strict.ParseImage(ref); err == nil && i.Tag == "" && i.Digest == "" {
		return errors.New("no tag or digest")
	}
	return err
}

func (m *Manifest) validateFiles(c *strict.Checks) {
	seen := map[string]bool{}
	for i, f := range m.Files {
		p := fmt.Sprintf("files[%d]", i)
		c.Match(p+".name", f.Name, fileName.MatchString, "a plain file name")
		if seen[f.Name] {
			c.Add(p+".name", "duplicate %q", f.Name)
		}
		seen[f.Name] = true
		if u, err := url.Parse(f.URL); err != nil || u.Scheme != "file" || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			c.URL(p+".url", f.URL, f.Digest != "")
		}
		c.Digest(p+".digest", f.Digest)
	}
}

func (m *Manifest) validateCharts(c *strict.Checks) {
	for i, chart := range m.Charts {
		p := fmt.Sprintf("charts[%d]", i)
		if chart.File != "" {
			c.OneLine(p+".file", chart.File)
			if chart.Repository+chart.Name+chart.Version != "" {
				c.Add(p, "found a file beside repository, name or version, want one of the two")
			}
		} else {
			chart.validateSource(c, p)
		}
		c.Digest(p+".digest", chart.Digest)
		c.Each(p+".images", chart.Images, func(p, s string) {
			if err := checkTagged(s); err != nil {
				c.Add(p, "found %q, want a full reference with a tag or digest such as docker.io/library/nginx:1.29: %v", s, err)
			}
		})
	}
}

// validateSource checks the place of a chart that is not a file.
func (m ManifestChart) validateSource(c *strict.Checks, p string) {
	if repo, ok := strings.CutPrefix(m.Repository, OCIScheme); ok {
		if err := strict.CheckImageRef(repo + "/chart"); err != nil {
			c.Add(p+".repository", "found %q, want oci://REGISTRY/PATH: %v", m.Repository, err)
		}
	} else {
		c.URL(p+".repository", m.Repository, m.Digest != "")
	}
	if err := CheckChart(m.Name, m.Version); err != nil {
		c.Add(p, "%v", err)
	}
}
