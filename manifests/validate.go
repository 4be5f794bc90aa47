package manifests

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Validate returns what is wrong with a Manifest beside its types, by path.
// That what it names is in the catalog is for Resolve to say.
func (m *Manifest) Validate() []strict.Problem {
	c := &strict.Checks{}
	if m.Name != "" && !bundleName.MatchString(m.Name) {
		c.Add("name", "%q: want lower case letters, digits, dots and dashes", m.Name)
	}
	if _, err := catalog.ParseVersion(m.Kubernetes); err != nil {
		c.Add("kubernetes", "%v", err)
	}
	c.Each("arches", m.Arches, func(p, s string) { c.Among(p, s, catalog.Arches...) })
	c.Each("distros", m.Distros, func(p, s string) { c.Match(p, s, strict.IsName, "the name of a distribution such as rocky-9") })
	for p, s := range map[string]string{"cni": m.CNI, "runtime": m.Runtime} {
		if s != "" {
			c.Match(p, s, strict.IsName, "a name of the catalog")
		}
	}
	c.Each("images", m.Images, func(p, s string) {
		c.Match(p, s, isTagged, "a full reference with a tag or digest such as docker.io/library/nginx:1.29")
	})
	c.Each("packages", m.Packages, func(p, s string) { c.Match(p, s, strict.IsPackageName, "the name of a package") })
	m.validateFiles(c)
	for i, r := range m.Rewrites {
		for k, s := range map[string]string{"from": r.From, "to": r.To} {
			c.Match(fmt.Sprintf("rewrites[%d].%s", i, k), s, plainWord.MatchString, "a URL or registry prefix")
		}
	}
	for _, d := range slices.Sorted(maps.Keys(m.Keyrings)) {
		p := strict.JoinPath("keyrings", d)
		c.Match(p, d, strict.IsName, "the name of a distribution")
		if m.Keyrings[d] == "" {
			c.Add(p, "no file is named")
		}
		c.OneLine(p, m.Keyrings[d])
	}
	if m.Sequence < 0 {
		c.Add("sequence", "found %d, want 1 or more", m.Sequence)
	}
	return c.Problems
}

// isTagged reports a full image reference that names a tag or a digest.
func isTagged(ref string) bool {
	return strict.IsImageRef(ref) && strings.ContainsAny(ref[strings.LastIndexByte(ref, '/')+1:], ":@")
}

func (m *Manifest) validateFiles(c *strict.Checks) {
	seen := map[string]bool{}
	for i, f := range m.Files {
		p := fmt.Sprintf("files[%d]", i)
		c.Match(p+".name", f.Name, fileName.MatchString, "a plain file name")
		if seen[f.Name] {
			c.Add(p+".name", "%q is there twice", f.Name)
		}
		seen[f.Name] = true
		if u, err := url.Parse(f.URL); err != nil || u.Scheme != "file" || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			c.URL(p+".url", f.URL, f.Digest != "")
		}
		c.Digest(p+".digest", f.Digest)
	}
}
