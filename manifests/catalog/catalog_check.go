package catalog

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Arches are the architectures that bundles may have, in Go's spelling.
var Arches = []string{"amd64", "arm64"}

// neededComponents are what install cannot do without.
var neededComponents = []string{"kubernetes", "etcd", "containerd", "runc", "crictl", "cni-plugins"}

// knownDaemons may have arguments.
var knownDaemons = []string{
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "etcd", "containerd",
}

var (
	linkName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
	portName = regexp.MustCompile(`^[1-9][0-9]{0,4}/(tcp|udp)$`)
	// chainPrefix ends with a separator, so that it never matches a built-in chain.
	chainPrefix   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{1,25}[_-]$`)
	commentPrefix = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_:.-]{2,63}$`)
	moduleName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
	sysctlKey     = regexp.MustCompile(`^[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`)
)

func checkArches(c *strict.Checks, path string, arches []string) {
	if len(arches) == 0 {
		c.Add(path, "none given")
	}
	for i, a := range arches {
		c.Among(fmt.Sprintf("%s[%d]", path, i), a, Arches...)
	}
}

func checkImage(c *strict.Checks, path string, i Image) {
	if !strict.IsImageRef(i.Ref) {
		c.Add(strict.JoinPath(path, "ref"), "%q is not a full image reference such as registry.k8s.io/pause:3.10", i.Ref)
	}
	c.Digest(strict.JoinPath(path, "digest"), i.Digest)
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
	checkArches(c, "defaults.arches", r.Defaults.Arches)
	if len(r.Defaults.Distros) == 0 {
		c.Add("defaults.distros", "none given")
	}
	c.Among("defaults.runtime", r.Defaults.Runtime, "containerd")
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
	r.Features.validate(c)
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
			c.Add(p, "is there twice")
		}
		seen[d.Name] = true
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

func (n CNI) validate(name string) []strict.Problem {
	c := &strict.Checks{}
	if n.Name != name || !strict.IsName(name) {
		c.Add("name", "found %q in the folder of %q", n.Name, name)
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
	if r.To != "" && CompareMinors(r.From, r.To) > 0 {
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
	for i, f := range r.Files {
		// Reset removes these: never a folder that others share.
		if path.Clean(f) != f || strings.Count(f, "/") < 2 || !path.IsAbs(f) || strings.ContainsFunc(f, strict.Unprintable) {
			c.Add(fmt.Sprintf("%s.files[%d]", p, i), "%q: want an absolute path of two levels or more", f)
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
	CheckSysctls(c, p+".sysctls", r.Sysctls)
}

// CheckSysctls adds what is wrong with kernel settings.
func CheckSysctls(c *strict.Checks, path string, values map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		p := strict.JoinPath(path, k)
		c.Match(p, k, sysctlKey.MatchString, "a name such as net.ipv4.ip_forward")
		if strings.TrimSpace(values[k]) == "" {
			c.Add(p, "no value is given")
		}
		c.OneLine(p, values[k])
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

func (d Distro) validate(name string) []strict.Problem {
	c := &strict.Checks{}
	if d.Name != name || d.Name != d.ID+"-"+d.Major || !strict.IsName(name) {
		c.Add("name", "found %q in the file of %q, want <id>-<major>", d.Name, name)
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
		// Packages are signed, so the way they come may be plain http.
		c.URL(p+".baseURL", strings.ReplaceAll(y.BaseURL, "{arch}", "x86_64"), len(y.KeyFiles) > 0)
		d.validateKeys(c, p, y.KeyFiles)
	}
	for i, a := range d.Apt {
		p := fmt.Sprintf("apt[%d]", i)
		if !strict.IsName(a.Archive) || !strict.IsName(a.Suite) || len(a.Components) == 0 {
			c.Add(p, "want an archive, a suite and components")
		}
		d.validateKeys(c, p, a.KeyFiles)
	}
	if len(d.Packages) == 0 {
		c.Add("packages", "none given")
	}
	for i, n := range d.Packages {
		if !strict.IsPackageName(n) {
			c.Add(fmt.Sprintf("packages[%d]", i), "%q is not the name of a package", n)
		}
	}
	for i, g := range d.Exclude {
		if _, err := path.Match(g, ""); err != nil {
			c.Add(fmt.Sprintf("exclude[%d]", i), "%q: %v", g, err)
		}
	}
	return c.Problems
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
