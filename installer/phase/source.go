package phase

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/distro"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// What a host needs to know of the mirror.
const (
	confDir   = "/etc/offk8s"
	mirrorCA  = confDir + "/mirror-ca.crt"
	bundleKey = confDir + "/offk8s.asc"
	yumDir    = confDir + "/yum.repos.d"
	aptDir    = confDir + "/apt"
	keyDir    = confDir + "/keys"
)

// mirrorURL is the mirror without a trailing slash.
func (in Input) mirrorURL() string { return strings.TrimRight(in.Cluster.Mirror.URL, "/") }

// caFile is the path of the mirror's CA, "" when it has none of its own.
func (in Input) caFile() string {
	if len(in.MirrorCA) == 0 {
		return ""
	}
	return mirrorCA
}

// sourceSteps tell the host of the mirror: its CA, the keys and a repository
// definition that package managers see only when offk8s calls them.
func sourceSteps(l *list, in Input, h manifests.Host) {
	d, err := in.distro(h)
	if err != nil {
		l.fail(err)
		return
	}
	l.add("mirror-folder", "", &step.Directory{Path: confDir})
	if ca := in.caFile(); ca != "" {
		l.add("mirror-ca", "", &step.File{Path: ca, Content: string(in.MirrorCA)})
	}
	if len(in.OpenPGPKey) > 0 {
		l.add("mirror-key", "", &step.File{Path: bundleKey, Content: string(in.OpenPGPKey)})
	}
	if d.Manager == step.ManagerApt {
		l.add("mirror-source", "", &step.File{Path: aptDir + "/offk8s.sources", Content: in.aptSource(d)})
	} else {
		keys := in.Lock.DistroData[d.Name].Keys
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			l.add("mirror-key-"+k, "", &step.File{Path: keyDir + "/" + k, Content: keys[k]})
		}
		l.add("mirror-source", "", &step.File{Path: yumDir + "/offk8s.repo", Content: in.yumSource(d, in.arch(h))})
	}
	if u, err := url.Parse(in.mirrorURL()); err == nil && (u.Scheme == "http" || in.caFile() != "") {
		l.add("mirror-reachable", "every file comes from there", &step.Wait{
			URL: in.mirrorURL() + "/healthz", CAFile: in.caFile(),
			Timeout: step.Duration(20 * time.Second), Text: "the mirror " + in.mirrorURL() + " answers",
		})
	}
}

// yumSource is a .repo file. Packages keep the signature of their vendor, the
// metadata has the bundle's; both are checked.
func (in Input) yumSource(d distro.Distro, arch string) string {
	keys := []string{"file://" + bundleKey}
	for _, k := range slices.Sorted(maps.Keys(in.Lock.DistroData[d.Name].Keys)) {
		keys = append(keys, "file://"+keyDir+"/"+k)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[offk8s]\nname=offk8s bundle %s\n", in.Lock.Name)
	fmt.Fprintf(&b, "baseurl=%s/yum/%s/%s\n", in.mirrorURL(), d.Name, distro.RPMArch(arch))
	b.WriteString("enabled=1\ngpgcheck=1\nrepo_gpgcheck=1\n")
	fmt.Fprintf(&b, "gpgkey=%s\nsslverify=1\n", strings.Join(keys, "\n       "))
	if ca := in.caFile(); ca != "" {
		fmt.Fprintf(&b, "sslcacert=%s\n", ca)
	}
	b.WriteString("proxy=_none_\nmetadata_expire=60\nskip_if_unavailable=0\n")
	if d.Manager == step.ManagerDnf {
		b.WriteString("module_hotfixes=1\n")
	}
	return b.String()
}

// aptSource is a deb822 source, sources.list(5).
func (in Input) aptSource(d distro.Distro) string {
	return fmt.Sprintf("Types: deb\nURIs: %s/apt/%s\nSuites: offk8s\nComponents: main\nSigned-By: %s\n",
		in.mirrorURL(), d.Name, bundleKey)
}

// packages is the step that installs operating system packages.
func (in Input) packages(d distro.Distro, names ...string) *step.Packages {
	p := &step.Packages{Manager: d.Manager, Names: names, Source: yumDir}
	if d.Manager == step.ManagerApt {
		p.Source, p.CAFile = aptDir, in.caFile()
	}
	return p
}

// packageSteps install what the catalog wants on every host of the distribution.
func packageSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{phase: "packages"}
	d, err := in.distro(h)
	if err != nil {
		l.fail(err)
		return l.done()
	}
	names := in.Lock.DistroData[d.Name].Packages
	if len(names) > 0 {
		l.add("install", "kubelet, kube-proxy and the pod network call them", in.packages(d, names...))
	}
	return l.done()
}
