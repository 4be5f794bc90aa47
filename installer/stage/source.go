package stage

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/bundle/clientconf"
	"github.com/offk8s/offk8s/installer/distro"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Locations of the configuration of the mirror.
const (
	confDir   = "/etc/offk8s"
	mirrorCA  = confDir + "/mirror-ca.crt"
	bundleKey = confDir + "/offk8s.asc"
	yumDir    = confDir + "/yum.repos.d"
	aptDir    = confDir + "/apt"
	aptList   = confDir + "/apt-mirrors"
	keyDir    = confDir + "/keys"
)

// caFile returns the path of the mirror's CA, "" if the hosts need none.
func (in Input) caFile() string {
	if len(in.MirrorCA) == 0 {
		return ""
	}
	return mirrorCA
}

// sourceSteps adds the steps that configure the mirror on the host: its CA, keys, and
// a repository definition that package managers use only when offk8s runs them.
func sourceSteps(l *list, in Input, h manifests.Host) {
	d, err := in.distro(h)
	if err != nil {
		l.fail(err)
		return
	}
	l.add("mirror-folder", &step.Directory{Path: confDir})
	if ca := in.caFile(); ca != "" {
		l.add("mirror-ca", &step.File{Path: ca, Content: string(in.MirrorCA)})
	}
	if len(in.OpenPGPKey) > 0 {
		l.add("mirror-key", &step.File{Path: bundleKey, Content: string(in.OpenPGPKey)})
	}
	relative := in.relativeOf(h, d)
	if d.Manager == step.ManagerApt {
		if mirrors := in.clientConf().AptMirrors(d.Name); mirrors != "" {
			l.add("mirror-list", &step.File{Path: aptList, Content: mirrors})
		}
		l.add("mirror-source", &step.File{Path: aptDir + "/offk8s.sources", Content: in.clientConf().AptSources(d.Name, bundleKey, aptList)}).Why = relative
	} else {
		repo := clientconf.YumRepo{Distro: d.Name, Arch: manifests.RPMArch(in.arch(h)), Keys: []string{"file://" + bundleKey}}
		keys := in.Lock.DistroData[d.Name].Keys
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			path := keyDir + "/" + k
			l.add("mirror-key-"+k, &step.File{Path: path, Content: keys[k]})
			repo.Keys = append(repo.Keys, "file://"+path)
		}
		l.add("mirror-source", &step.File{Path: yumDir + "/offk8s.repo", Content: in.clientConf().YumRepo(repo)}).Why = relative
	}
	var health []string
	for _, raw := range in.Cluster.Mirror.Addresses() {
		if u, err := url.Parse(raw); err == nil && (u.Scheme == "http" || in.caFile() != "") {
			health = append(health, raw+"/healthz")
		}
	}
	if len(health) > 0 {
		l.add("mirror-reachable", &step.Wait{
			URL: health[0], Or: health[1:], CAFile: in.caFile(),
			Timeout: step.Duration(20 * time.Second), Text: "the mirror " + strings.Join(in.Cluster.Mirror.Addresses(), " or ") + " answers",
		}).Why = "every file comes from the mirror"
	}
}

// clientConf describes the mirrors as the hosts see them.
func (in Input) clientConf() clientconf.Config {
	return clientconf.Config{URLs: in.Cluster.Mirror.Addresses(), CAFile: in.caFile()}
}

// packages returns the step that installs operating system packages.
func packages(in Input, d distro.Distro, names ...string) *step.Packages {
	p := &step.Packages{Manager: d.Manager, Names: names, Source: yumDir}
	if d.Manager == step.ManagerApt {
		p.Source, p.CAFile = aptDir, in.caFile()
	}
	return p
}

// packageSteps returns the step that installs the packages of the catalog for the
// host's distribution.
func packageSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "packages"}
	d, err := in.distro(h)
	if err != nil {
		l.fail(err)
		return l.done()
	}
	data := in.Lock.DistroData[d.Name]
	if len(data.Packages) > 0 {
		l.add("install", packages(in, d, data.Packages...)).Why = "kubelet, kube-proxy and the pod network call them"
	}
	for _, r := range h.Roles {
		if names := data.RolePackages[string(r)]; len(names) > 0 {
			l.add(string(r), packages(in, d, names...)).Why = "the role " + string(r) + " needs them"
		}
	}
	if names := data.RolePackages[in.proxyRole()]; len(names) > 0 && h.IsNode() {
		l.add(in.proxyRole(), packages(in, d, names...)).Why = "the proxy of services needs them"
	}
	return l.done()
}
