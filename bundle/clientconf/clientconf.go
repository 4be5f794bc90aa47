// Package clientconf generates the configuration that makes a client use a
// mirror: dnf and yum, apt, containerd, podman and docker. The mirror offers the files
// under /config/, and the installer writes them to the hosts of a cluster.
//
// Every function is pure and leaves every check of the client on: signatures,
// digests and TLS.
package clientconf

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests"
)

// Config describes a mirror as its clients see it, or several of the same bundle.
type Config struct {
	// URLs are scheme, host and optional port of the mirrors, "https://dmz:8443",
	// without a trailing slash. Clients use the first that answers.
	URLs []string
	// CAFile is the path on the client of the certificate (PEM) that verifies the
	// mirrors. If it is empty, the client uses the certificates of its system.
	CAFile string
	// Peer is the URL of a registry on the client that has images of other clients, or "". containerd
	// asks it before the mirrors, and for digests alone: names are for the mirrors to resolve.
	Peer string
}

// IsIPv6 reports whether the host of a mirror's URL is an IPv6 address, which some clients
// cannot use.
func IsIPv6(url string) bool { return strings.Contains(url, "[") }

// with returns the URLs with a path after each.
func (c Config) with(path string) []string {
	var out []string
	for _, u := range c.URLs {
		out = append(out, u+path)
	}
	return out
}

// YumRepo describes a yum repository of a mirror.
type YumRepo struct {
	// Distro and Arch name the repository, "rocky-9" and "x86_64". If Arch is
	// "$basearch", the package manager inserts the architecture of its host.
	Distro, Arch string
	// Keys are the URLs (https or file) of the OpenPGP keys that verify the
	// metadata and the packages.
	Keys []string
}

// YumRepo returns a .repo file, dnf.conf(5) and yum.conf(5). Its only repository
// has the identifier "offk8s".
func (c Config) YumRepo(r YumRepo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[offk8s]\nname=offk8s packages for %s\n", r.Distro)
	// dnf tries several in this order, yum from a random one on.
	fmt.Fprintf(&b, "baseurl=%s\nenabled=1\n", strings.Join(c.with("/"+manifests.YumGroup(r.Distro, r.Arch)), "\n       "))
	b.WriteString("# The vendor signs the packages, the key of the bundle signs the metadata.\n")
	fmt.Fprintf(&b, "gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=%s\nsslverify=1\n", strings.Join(r.Keys, "\n       "))
	if c.CAFile != "" {
		fmt.Fprintf(&b, "sslcacert=%s\n", c.CAFile)
	}
	// The mirror is near, and a module stream must not hide its packages; yum
	// ignores module_hotfixes.
	b.WriteString("proxy=_none_\nmetadata_expire=60\nskip_if_unavailable=0\nmodule_hotfixes=1\n")
	return b.String()
}

// AptSources returns a deb822 source, sources.list(5). keyring is the path on
// the client of the OpenPGP key that signs the repository, and list that of AptMirrors,
// which several mirrors need: apt would take several URIs for as many repositories, and
// fail if it cannot read one of them.
func (c Config) AptSources(distro, keyring, list string) string {
	uri := "mirror+file:" + list
	if len(c.URLs) == 1 {
		uri = c.URLs[0] + "/" + manifests.AptGroup(distro)
	}
	return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: offk8s\nComponents: main\nSigned-By: %s\n", uri, keyring)
}

// AptMirrors returns the list of several mirrors, apt-transport-mirror(1) of apt 1.6 and
// later. It returns "" if there is one mirror.
func (c Config) AptMirrors(distro string) string {
	if len(c.URLs) == 1 {
		return ""
	}
	var b strings.Builder
	for i, u := range c.with("/" + manifests.AptGroup(distro)) {
		fmt.Fprintf(&b, "%s/\tpriority:%d\n", u, i+1)
	}
	return b.String()
}

// AptConf returns the part of apt.conf(5) that makes apt verify the mirrors, and
// no other server, with CAFile.
func (c Config) AptConf() string {
	var b strings.Builder
	for _, raw := range c.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || c.CAFile == "" {
			return "// The certificates of the system verify this mirror.\n"
		}
		fmt.Fprintf(&b, "Acquire::https::%s::CAInfo %q;\n", u.Hostname(), c.CAFile)
	}
	return b.String()
}

// HostsTOML returns a hosts.toml for containerd 1.5 and later. The same file
// serves every registry, because containerd adds the name of the registry to its
// requests (?ns=).
//
// containerd asks the hosts in the order of the file. The first mirror is also the server,
// which it asks last: if the mirrors lack an image, the user sees its answer and not a
// failed attempt to reach the registry. The server needs its ca for the same reason.
func (c Config) HostsTOML() string {
	options := []string{`capabilities = ["pull", "resolve"]`}
	server := fmt.Sprintf("server = %q\n", c.URLs[0])
	if c.CAFile != "" {
		ca := fmt.Sprintf("ca = %q", c.CAFile)
		options = append(options, ca)
		server += ca + "\n"
	}
	// %q is a TOML string here: a URL and a path hold no control characters.
	var inline, tables strings.Builder
	if c.Peer != "" {
		fmt.Fprintf(&tables, "\n[host.%q]\ncapabilities = [\"pull\"]\ndial_timeout = \"200ms\"\n", c.Peer)
	}
	for _, u := range c.URLs {
		if IsIPv6(u) {
			// containerd 1.x cannot parse a table whose name has a bracket, ignores
			// the file and asks the registry itself. An inline table works there;
			// containerd 2 ignores it and uses server.
			fmt.Fprintf(&inline, "%q = { %s }\n", u, strings.Join(options, ", "))
			continue
		}
		fmt.Fprintf(&tables, "\n[host.%q]\n%s\n", u, strings.Join(options, "\n"))
	}
	if inline.Len() > 0 {
		server += "\n[host]\n"
	}
	return server + inline.String() + tables.String()
}

// ContainerdMirrors returns the registry part of config.toml for containerd
// before 1.5, which has no hosts.toml. It does not send the name of the registry, so
// each of registries has a separate endpoint.
func (c Config) ContainerdMirrors(registries []string) string {
	var b strings.Builder
	b.WriteString("[plugins.cri.registry]\n")
	for _, registry := range registries {
		fmt.Fprintf(&b, "  [plugins.cri.registry.mirrors.%q]\n    endpoint = [\"%s\"]\n", registry, strings.Join(c.with("/v2/"+registry), `", "`))
	}
	if c.CAFile != "" {
		// As in HostsTOML, the name of a table could not hold an IPv6 literal.
		b.WriteString("  [plugins.cri.registry.configs]\n")
		for _, u := range c.URLs {
			_, host, _ := strings.Cut(u, "://")
			fmt.Fprintf(&b, "    %q = { tls = { ca_file = %q } }\n", host, c.CAFile)
		}
	}
	return b.String()
}

// RegistriesConf returns a containers-registries.conf(5) for podman, buildah and CRI-O,
// which ask the mirrors in order for images of registries. The CA belongs in
// /etc/containers/certs.d/<mirror>/ca.crt. A mirror whose URL has an IPv6 address is left out:
// it would end every pull, since the name of an image cannot hold one.
func (c Config) RegistriesConf(registries []string) string {
	var b strings.Builder
	named := slices.DeleteFunc(slices.Clone(c.URLs), IsIPv6)
	if len(named) < len(c.URLs) {
		b.WriteString("# names of images hold no IPv6 address: a mirror needs a host name here\n")
	}
	for _, registry := range registries {
		if len(named) == 0 {
			break
		}
		fmt.Fprintf(&b, "[[registry]]\nlocation = %q\n", registry)
		for _, u := range named {
			scheme, host, _ := strings.Cut(u, "://")
			fmt.Fprintf(&b, "[[registry.mirror]]\nlocation = %q\n", host+"/"+registry)
			if scheme == "http" {
				b.WriteString("insecure = true\n")
			}
		}
	}
	return b.String()
}

// DockerDaemon returns a snippet for docker's daemon.json. Docker uses mirrors, in
// order, for Docker Hub only: images of other registries are pulled by name,
// <mirror>/<registry>/<name>, from a mirror without TLS only if it is named as one. The CA
// belongs in /etc/docker/certs.d/<mirror>/ca.crt.
func (c Config) DockerDaemon() string {
	conf := map[string][]string{"registry-mirrors": c.URLs}
	for _, u := range c.URLs {
		if host, plain := strings.CutPrefix(u, "http://"); plain {
			conf["insecure-registries"] = append(conf["insecure-registries"], host)
		}
	}
	out, err := json.MarshalIndent(conf, "", "  ")
	if err != nil {
		return "{}\n" // strings always encode
	}
	return string(out) + "\n"
}
