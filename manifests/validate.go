package manifests

import (
	"fmt"
	"net/url"
	"strings"
)

// Validate returns what is wrong with a Manifest beside its types, by path.
// That what it names is in the catalog is for Resolve to say.
func (m *Manifest) Validate() []Problem {
	c := &checks{}
	if m.Name != "" && !bundleName.MatchString(m.Name) {
		c.add("name", "%q: want lower case letters, digits, dots and dashes", m.Name)
	}
	if _, err := ParseVersion(m.Kubernetes); err != nil {
		c.add("kubernetes", "%v", err)
	}
	c.each("arches", m.Arches, func(p, s string) { c.among(p, s, knownArches...) })
	c.each("distros", m.Distros, func(p, s string) { c.match(p, s, entryName.MatchString, "the name of a distribution such as rocky-9") })
	for p, s := range map[string]string{"cni": m.CNI, "runtime": m.Runtime} {
		if s != "" {
			c.match(p, s, entryName.MatchString, "a name of the catalog")
		}
	}
	c.each("images", m.Images, func(p, s string) {
		c.match(p, s, isTagged, "a full reference with a tag or digest such as docker.io/library/nginx:1.29")
	})
	c.each("packages", m.Packages, func(p, s string) { c.match(p, s, packageName.MatchString, "the name of a package") })
	m.validateFiles(c)
	for i, r := range m.Mirrors {
		for k, s := range map[string]string{"from": r.From, "to": r.To} {
			c.match(fmt.Sprintf("mirrors[%d].%s", i, k), s, plainWord.MatchString, "a URL or registry prefix")
		}
	}
	for _, d := range sortedKeys(m.Keyrings) {
		p := joinPath("keyrings", d)
		c.match(p, d, entryName.MatchString, "the name of a distribution")
		if m.Keyrings[d] == "" {
			c.add(p, "no file is named")
		}
		c.oneLine(p, m.Keyrings[d])
	}
	if m.Sequence < 0 {
		c.add("sequence", "found %d, want 1 or more", m.Sequence)
	}
	return c.problems
}

// isTagged reports a full image reference that names a tag or a digest.
func isTagged(ref string) bool {
	return isImageRef(ref) && strings.ContainsAny(ref[strings.LastIndexByte(ref, '/')+1:], ":@")
}

func (m *Manifest) validateFiles(c *checks) {
	seen := map[string]bool{}
	for i, f := range m.Files {
		p := fmt.Sprintf("files[%d]", i)
		c.match(p+".name", f.Name, fileName.MatchString, "a plain file name")
		if seen[f.Name] {
			c.add(p+".name", "%q is there twice", f.Name)
		}
		seen[f.Name] = true
		if u, err := url.Parse(f.URL); err != nil || u.Scheme != "file" || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			c.url(p+".url", f.URL, f.Digest != "")
		}
		c.digest(p+".digest", f.Digest)
	}
}

// match adds a problem unless ok says yes to s.
func (c *checks) match(path, s string, ok func(string) bool, want string) {
	if !ok(s) {
		c.add(path, "found %q, want %s", s, want)
	}
}

// each checks every element of a list and that none is there twice.
func (c *checks) each(path string, list []string, check func(path, s string)) {
	seen := map[string]bool{}
	for i, s := range list {
		p := fmt.Sprintf("%s[%d]", path, i)
		check(p, s)
		if seen[s] {
			c.add(p, "%q is there twice", s)
		}
		seen[s] = true
	}
}
