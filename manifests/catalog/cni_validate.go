package catalog

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

var (
	// linkName is the name of an interface, or a prefix of two characters or more and *.
	linkName     = strict.NewPattern(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,14}|[A-Za-z0-9._-]{1,13}\*)$`)
	portName     = strict.NewPattern(`^[1-9][0-9]{0,4}/(tcp|udp)$`)
	protocolName = strict.NewPattern(`^(ipip|gre|esp|ah)$`)
	// chainPrefix ends with a separator, so that it never matches a built-in chain.
	chainPrefix   = strict.NewPattern(`^[A-Za-z][A-Za-z0-9_-]{1,25}[_-]$`)
	setPrefix     = strict.NewPattern(`^[A-Za-z][A-Za-z0-9_-]{3,26}$`)
	commentPrefix = strict.NewPattern(`^[A-Za-z][A-Za-z0-9_:.-]{2,63}$`)
	moduleName    = strict.NewPattern(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
)

func (n CNI) validate(name string) []strict.Problem {
	c := &strict.Checks{}
	if n.Name != name || !strict.IsName(name) {
		c.Add("name", "found %q in the directory of %q", n.Name, name)
	}
	if len(n.Releases) == 0 {
		c.Add("releases", "none given")
	}
	validateOptions(c, n.Options)
	for _, r := range n.Releases {
		r.validate(c, "releases["+r.From+"]")
	}
	return c.Problems
}

func (r CNIRelease) validate(c *strict.Checks, p string) {
	checkRange(c, p, r.From, r.To)
	if r.Version == "" {
		c.Add(p+".version", "missing")
	}
	roles := slices.Sorted(maps.Keys(r.Images))
	for _, role := range roles {
		checkImage(c, strict.JoinPath(p+".images", role), r.Images[role])
	}
	if r.Namespace != "" {
		c.Match(p+".namespace", r.Namespace, strict.IsDNSLabel, "lower case letters, digits and dashes")
	}
	if r.ReplacesKubeProxy && r.Namespace != "" {
		c.Add(p+".namespace", "a proxy of services must be in kube-system")
	}
	for field, set := range map[string]bool{"ipvs": r.IPVS, "keepsKubeProxy": r.KeepsKubeProxy != ""} {
		if set && !r.ReplacesKubeProxy {
			c.Add(p+"."+field, "is for a network with replacesKubeProxy")
		}
	}
	objects, err := parse(r.Objects) // once, since a catalog is read at each start
	for _, settings := range r.samples() {
		data := sampleData(roles...)
		data.Options, data.Namespace = settings, r.ObjectNamespace()
		if err == nil {
			err = objects.Execute(io.Discard, data)
		}
		if data.PodCIDR6 = "fd00:10::/56"; err == nil && r.DualStack {
			err = objects.Execute(io.Discard, data)
		}
		if err != nil || r.Objects == "" {
			c.Add(p+".template", "%q is not a template of objects beside cni.yaml: %v", strings.Join(r.templates(), ", "), err)
			break
		}
		filled, err := r.With(settings)
		if err != nil {
			c.Add(p, "%v", err)
			break
		}
		before := len(c.Problems)
		if filled.validateHosts(c, p); len(c.Problems) > before {
			break // once is enough
		}
	}
}

// validateHosts checks the values for hosts, with their templates filled in.
func (r CNIRelease) validateHosts(c *strict.Checks, p string) {
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
		form   strict.Pattern
		want   string
	}{
		{"ports", r.Ports, portName, "the form 8472/udp"},
		{"protocols", r.Protocols, protocolName, "one of ipip, gre, esp, ah"},
		{"modules", r.Modules, moduleName, "the name of a kernel module"},
		{"unmanaged", r.Unmanaged, linkName, "the name of a network interface, or a prefix and *"},
		{"interfaces", r.Interfaces, linkName, "the name of a network interface, or a prefix and *"},
		{"chains", r.Chains, chainPrefix, "a prefix of chains that ends in - or _"},
		{"ipsets", r.IPSets, setPrefix, "a prefix of sets of four characters or more"},
		{"ruleComments", r.RuleComments, commentPrefix, "a prefix of comments without spaces"},
	} {
		c.Each(p+"."+x.field, x.values, func(p, v string) { c.Match(p, v, x.form.MatchString, x.want) })
	}
	c.Sysctls(p+".sysctls", r.Sysctls)
}

// sampleData returns data that every valid template can be rendered with.
func sampleData(roles ...string) ObjectData {
	d := ObjectData{
		PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16", NodePorts: "30000-32767", DNSAddress: "10.96.0.10", DNSDomain: "cluster.local", LocalDNS: []string{"169.254.20.10"},
		Nodes: []string{"10.0.0.11", "fd00::11"}, APIServer: "https://10.0.0.11:6443", Forward: true, Namespace: "kube-system", Images: map[string]string{},
	}
	for _, r := range roles {
		d.Images[r] = "registry.example/" + r + ":1"
	}
	return d
}
