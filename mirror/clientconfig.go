package mirror

import (
	"encoding/json"
	"fmt"
	"strings"
)

// yumRepo is the .repo file of a distro: every check of the client stays on.
func (s *site) yumRepo(base, distro string) string {
	keys := []string{base + "/offk8s.asc"}
	for _, path := range s.keys[distro] {
		keys = append(keys, base+path)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[offk8s-%s]\nname=offk8s %s\nbaseurl=%s/yum/%s/$basearch/\nenabled=1\n", distro, distro, base, distro)
	b.WriteString("# packages are signed by their vendor, the metadata by the bundle's key\n")
	fmt.Fprintf(&b, "gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=%s\nsslverify=1\n", strings.Join(keys, "\n       "))
	if len(s.ca) > 0 {
		fmt.Fprintf(&b, "sslcacert=%s\n", CAPath)
	}
	return b.String()
}

// aptSources is the deb822 source of a distro.
func aptSources(base string, repo aptRepository) string {
	return fmt.Sprintf("Types: deb\nURIs: %s/apt/%s\nSuites: offk8s\nComponents: %s\nSigned-By: %s\n",
		base, repo.distro, strings.Join(repo.components, " "), KeyringPath)
}

// aptConf tells apt which CA the mirror's certificate is from, for this host alone.
func (s *site) aptConf(base string) string {
	scheme, host, _ := strings.Cut(base, "://")
	if scheme != "https" || len(s.ca) == 0 {
		return "// the mirror needs no CA of its own\n"
	}
	name := host
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		name = host[:colon]
	}
	return fmt.Sprintf("Acquire::https::%s::CAInfo %q;\n", strings.Trim(name, "[]"), CAPath)
}

// hostsTOML goes to certs.d/_default/hosts.toml of containerd 1.5 and later: one
// file for every registry, since containerd says in ns which one is meant.
func (s *site) hostsTOML(base string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", base, base)
	if len(s.ca) > 0 {
		fmt.Fprintf(&b, "  ca = %q\n", CAPath)
	}
	return b.String()
}

// containerdV1 is the registry part of config.toml for containerd before 1.5,
// which has no certs.d and sends no ns: the registry stands in the endpoint.
func (s *site) containerdV1(base string) string {
	_, host, _ := strings.Cut(base, "://")
	var b strings.Builder
	b.WriteString("[plugins.cri.registry]\n")
	for _, registry := range s.hosts {
		fmt.Fprintf(&b, "  [plugins.cri.registry.mirrors.%q]\n    endpoint = [%q]\n", registry, base+"/v2/"+registry)
	}
	if len(s.ca) > 0 {
		fmt.Fprintf(&b, "  [plugins.cri.registry.configs.%q.tls]\n    ca_file = %q\n", host, CAPath)
	}
	return b.String()
}

// dockerDaemon is a snippet for daemon.json. Docker mirrors Docker Hub alone;
// images of other registries are pulled as <mirror>/<registry>/<name>, and the
// CA goes to /etc/docker/certs.d/<mirror>/ca.crt.
func (s *site) dockerDaemon(base string) string {
	out, err := json.MarshalIndent(map[string][]string{"registry-mirrors": {base}}, "", "  ")
	if err != nil {
		return "{}\n" // strings always encode
	}
	return string(out) + "\n"
}
