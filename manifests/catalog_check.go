package manifests

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// knownArches are the architectures that bundles may have, in Go's spelling.
var knownArches = []string{"amd64", "arm64"}

// neededComponents are what install cannot do without.
var neededComponents = []string{"kubernetes", "etcd", "containerd", "runc", "crictl", "cni-plugins"}

// knownDaemons may have arguments.
var knownDaemons = []string{
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "etcd", "containerd",
}

var (
	argName     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	imageRef    = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]*$`)
	linkName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
	portName    = regexp.MustCompile(`^[1-9][0-9]{0,4}/(tcp|udp)$`)
	entryName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
)

// checks gathers problems.
type checks struct{ problems []Problem }

func (c *checks) add(path, format string, a ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, a...)})
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func (c *checks) among(path, got string, known ...string) {
	if !contains(known, got) {
		c.add(path, "found %q, want one of %s", got, strings.Join(known, ", "))
	}
}

func (c *checks) arches(path string, arches []string) {
	if len(arches) == 0 {
		c.add(path, "none given")
	}
	for i, a := range arches {
		c.among(fmt.Sprintf("%s[%d]", path, i), a, knownArches...)
	}
}

func (c *checks) digest(path, d string) {
	if err := checkDigest(digest.Digest(d)); err != nil {
		c.add(path, "%v", err)
	}
}

func (c *checks) url(path, s string, pinned bool) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || strings.ContainsFunc(s, unprintable):
		c.add(path, "%q is not a URL", s)
	case u.Scheme != "https" && (u.Scheme != "http" || !pinned):
		c.add(path, "%q: want https, or http with a digest", s)
	case u.User != nil:
		c.add(path, "%q: a name or password does not belong here", u.Redacted())
	}
}

func (c *checks) image(path string, i Image) {
	if !isImageRef(i.Ref) {
		c.add(joinPath(path, "ref"), "%q is not a full image reference such as registry.k8s.io/pause:3.10", i.Ref)
	}
	c.digest(joinPath(path, "digest"), i.Digest)
}

// isImageRef reports a reference that begins with a registry: without one every
// tool would think of another.
func isImageRef(s string) bool {
	host, _, _ := strings.Cut(s, "/")
	return imageRef.MatchString(s) && (host == "localhost" || strings.ContainsAny(host, ".:"))
}

func (r Release) validate(name string) []Problem {
	c := &checks{}
	if v, err := ParseVersion(r.Minor); err != nil || v.Patch >= 0 || r.Minor != name {
		c.add("minor", "found %q in the file of %s", r.Minor, name)
	}
	if v, err := ParseVersion(r.Version); err != nil || v.Patch < 0 || v.String() != r.Version || v.MinorString() != r.Minor {
		c.add("version", "found %q, want a full version of %s without v", r.Version, r.Minor)
	}
	if _, err := time.Parse(time.DateOnly, r.EndOfLife); err != nil && r.EndOfLife != "" {
		c.add("endOfLife", "%q is not a date such as 2027-01-31", r.EndOfLife)
	}
	c.arches("defaults.arches", r.Defaults.Arches)
	if len(r.Defaults.Distros) == 0 {
		c.add("defaults.distros", "none given")
	}
	c.among("defaults.runtime", r.Defaults.Runtime, "containerd")
	r.validateComponents(c)
	for _, role := range []string{"pause", "coredns"} {
		if _, ok := r.Images[role]; !ok {
			c.add(joinPath("images", role), "missing")
		}
	}
	for _, role := range sortedKeys(r.Images) {
		c.image(joinPath("images", role), r.Images[role])
	}
	for _, daemon := range sortedKeys(r.Args) {
		p := joinPath("args", daemon)
		c.among(p, daemon, knownDaemons...)
		for _, k := range sortedKeys(r.Args[daemon]) {
			if v := r.Args[daemon][k]; v != nil {
				c.arg(joinPath(p, k), k, *v)
			} else {
				c.arg(joinPath(p, k), k, "")
			}
		}
	}
	r.Features.validate(c)
	return c.problems
}

// arg checks a flag and its value, which end up in a unit file.
func (c *checks) arg(path, name, value string) {
	if !argName.MatchString(name) {
		c.add(path, "%q is not the name of a flag, written without dashes", name)
	}
	c.oneLine(path, value)
}

func (c *checks) oneLine(path, value string) {
	if strings.ContainsFunc(value, forbiddenInLine) {
		c.add(path, "%q: want one line of printable text", value)
	}
}

// forbiddenInLine reports what would end or hide part of a line.
func forbiddenInLine(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufffd'
}

func (r Release) validateComponents(c *checks) {
	seen := map[string]bool{}
	for _, d := range r.Components {
		p := "components[" + d.Name + "]"
		if !entryName.MatchString(d.Name) {
			c.add(p+".name", "%q: want lower case letters, digits and dashes", d.Name)
		}
		if seen[d.Name] {
			c.add(p, "is there twice")
		}
		seen[d.Name] = true
		if d.Version == "" || strings.ContainsFunc(d.Version, unprintable) {
			c.add(p+".version", "found %q, want the version as upstream writes it", d.Version)
		}
		for _, a := range r.Defaults.Arches {
			if _, ok := d.Arches[a]; !ok {
				c.add(p+".arches", "has no %s, which is a default of the release", a)
			}
		}
		for _, a := range sortedKeys(d.Arches) {
			at := p + ".arches." + a
			c.among(at, a, knownArches...)
			c.url(at+".url", d.Arches[a].URL, d.Arches[a].Digest != "")
			c.digest(at+".digest", d.Arches[a].Digest)
		}
		names := map[string]bool{}
		for i, m := range d.Members {
			base := path.Base(m)
			if !safePath(strings.ReplaceAll(m, "{arch}", "x")) || names[base] {
				c.add(fmt.Sprintf("%s.members[%d]", p, i), "%q: want a plain relative path with a file name of its own", m)
			}
			names[base] = true
		}
	}
	for _, n := range neededComponents {
		if !seen[n] {
			c.add("components", "%q is missing", n)
		}
	}
}

func (f Features) validate(c *checks) {
	c.among("features.criVersion", f.CRIVersion, "v1alpha2", "v1")
	c.among("features.containerdConfig", fmt.Sprint(f.ContainerdConfig), "2", "3")
	for p, list := range map[string][]string{
		"features.controlPlaneLabels": f.ControlPlaneLabels, "features.controlPlaneTaints": f.ControlPlaneTaints,
	} {
		if len(list) == 0 {
			c.add(p, "none given")
		}
		for i, k := range list {
			if !isLabelKey(k) {
				c.add(fmt.Sprintf("%s[%d]", p, i), "%q is not a label key", k)
			}
		}
	}
}

func (n CNI) validate(name string) []Problem {
	c := &checks{}
	if n.Name != name || !entryName.MatchString(name) {
		c.add("name", "found %q in the folder of %q", n.Name, name)
	}
	if len(n.Releases) == 0 {
		c.add("releases", "none given")
	}
	for _, r := range n.Releases {
		r.validate(c, "releases["+r.From+"]")
	}
	return c.problems
}

func (r CNIRelease) validate(c *checks, p string) {
	for field, m := range map[string]string{"from": r.From, "to": r.To} {
		if v, err := ParseVersion(m); (err != nil || v.Patch >= 0) && (field == "from" || m != "") {
			c.add(p+"."+field, "found %q, want a minor such as 1.36", m)
		}
	}
	if r.To != "" && CompareMinors(r.From, r.To) > 0 {
		c.add(p+".to", "%s is before %s", r.To, r.From)
	}
	if r.Version == "" {
		c.add(p+".version", "missing")
	}
	roles := sortedKeys(r.Images)
	for _, role := range roles {
		c.image(joinPath(p+".images", role), r.Images[role])
	}
	if _, err := RenderObjects(r.Objects, sampleData(roles...)); err != nil || r.Objects == "" {
		c.add(p+".template", "%q is not a template of objects beside cni.yaml: %v", r.Template, err)
	}
	for i, l := range r.Interfaces {
		if !linkName.MatchString(l) {
			c.add(fmt.Sprintf("%s.interfaces[%d]", p, i), "%q is not the name of a network interface", l)
		}
	}
	for i, f := range r.Files {
		// Reset removes these: never a folder that others share.
		if path.Clean(f) != f || strings.Count(f, "/") < 2 || !path.IsAbs(f) || strings.ContainsFunc(f, unprintable) {
			c.add(fmt.Sprintf("%s.files[%d]", p, i), "%q: want an absolute path of two levels or more", f)
		}
	}
	for i, port := range r.Ports {
		if !portName.MatchString(port) {
			c.add(fmt.Sprintf("%s.ports[%d]", p, i), "found %q, want the form 8472/udp", port)
		}
	}
}

// sampleData renders a template for the sake of its errors.
func sampleData(roles ...string) ObjectData {
	d := ObjectData{PodCIDR: "10.244.0.0/16", DNSAddress: "10.96.0.10", DNSDomain: "cluster.local", Forward: true, Images: map[string]string{}}
	for _, r := range roles {
		d.Images[r] = "registry.example/" + r + ":1"
	}
	return d
}

// keyFiles are the key files of every source, sorted, each once.
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

func (d Distro) validate(name string) []Problem {
	c := &checks{}
	if d.Name != name || d.Name != d.ID+"-"+d.Major || !entryName.MatchString(name) {
		c.add("name", "found %q in the file of %q, want <id>-<major>", d.Name, name)
	}
	c.among("family", d.Family, "redhat", "debian")
	c.among("metadataCompression", d.MetadataCompression, "gz", "zst")
	c.arches("arches", d.Arches)
	if (d.Family == "redhat") != (len(d.Yum) > 0) || (d.Family == "debian") != (len(d.Apt) > 0) {
		c.add("family", "redhat needs yum repositories, debian needs apt sources, and neither those of the other")
	}
	for _, y := range d.Yum {
		p := "yum[" + y.ID + "]"
		if !entryName.MatchString(y.ID) {
			c.add(p+".id", "%q: want lower case letters, digits and dashes", y.ID)
		}
		// Packages are signed, so the way they come may be plain http.
		c.url(p+".baseURL", strings.ReplaceAll(y.BaseURL, "{arch}", "x86_64"), len(y.KeyFiles) > 0)
		d.validateKeys(c, p, y.KeyFiles)
	}
	for i, a := range d.Apt {
		p := fmt.Sprintf("apt[%d]", i)
		if !entryName.MatchString(a.Archive) || !entryName.MatchString(a.Suite) || len(a.Components) == 0 {
			c.add(p, "want an archive, a suite and components")
		}
		d.validateKeys(c, p, a.KeyFiles)
	}
	if len(d.Packages) == 0 {
		c.add("packages", "none given")
	}
	for i, n := range d.Packages {
		if !packageName.MatchString(n) {
			c.add(fmt.Sprintf("packages[%d]", i), "%q is not the name of a package", n)
		}
	}
	for i, g := range d.Exclude {
		if _, err := path.Match(g, ""); err != nil {
			c.add(fmt.Sprintf("exclude[%d]", i), "%q: %v", g, err)
		}
	}
	return c.problems
}

func (d Distro) validateKeys(c *checks, p string, files []string) {
	for i, f := range files {
		if d.Keys[f] == "" {
			c.add(fmt.Sprintf("%s.keyFiles[%d]", p, i), "keys/%s is not in the catalog", f)
		}
	}
	if len(files) == 0 && d.Family == "redhat" {
		c.add(p+".keyFiles", "none given, packages could not be checked")
	}
}
