package mirror

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/offk8s/offk8s/bundle/clientconf"
)

// Files of a client that the generated configuration refers to.
const (
	caPath      = "/etc/offk8s/ca.crt"           // the mirror's CA certificate
	keyringPath = "/etc/apt/keyrings/offk8s.asc" // the OpenPGP key of the apt repository
)

// config returns a page with configuration that f generates.
func (d *pageData) config(mediaType string, f func(clientconf.Config) string) page {
	return func(base string, _ *http.Request) (string, []byte) {
		c := clientconf.Config{URL: base}
		if len(d.ca) > 0 {
			c.CAFile = caPath
		}
		return mediaType, []byte(f(c))
	}
}

// yumRepo returns the generator of a distro's .repo file, which suits hosts of
// every architecture.
func (d *pageData) yumRepo(distro string) func(clientconf.Config) string {
	return func(c clientconf.Config) string {
		keys := []string{c.URL + "/offk8s.asc"}
		for _, path := range d.yumKeys[distro] {
			keys = append(keys, c.URL+path)
		}
		return c.YumRepo(clientconf.YumRepo{Distro: distro, Arch: "$basearch", Keys: keys})
	}
}

func aptSources(distro string) func(clientconf.Config) string {
	return func(c clientconf.Config) string { return c.AptSources(distro, keyringPath) }
}

func (d *pageData) containerdMirrors(c clientconf.Config) string {
	return c.ContainerdMirrors(d.registries)
}

// ClientConfig returns the shell commands that configure a host for this mirror
// at baseURL, with a comment before each. The output of serve and the home page
// show them.
func (m *Mirror) ClientConfig(baseURL string) string {
	return m.pageData.clientConfig(strings.TrimSuffix(baseURL, "/"))
}

func (d *pageData) clientConfig(base string) string {
	var b strings.Builder
	curl := "curl -fsS"
	ask := "curl -fsSk"
	if strings.Contains(base, "[") {
		curl, ask = curl+" -g", ask+" -g" // the brackets of an IPv6 address are no pattern
	}
	if len(d.ca) > 0 {
		curl += " --cacert " + caPath
		fmt.Fprintf(&b, "# the mirror's CA; its digest must be %s\n", d.fingerprint())
		fmt.Fprintf(&b, "mkdir -p /etc/offk8s && %s -o %s %s/ca.crt && openssl x509 -in %s -outform der | openssl dgst -sha256\n\n", ask, caPath, base, caPath)
	}
	if len(d.binaries) > 0 {
		fmt.Fprintf(&b, "# offk8s itself, into the current directory\n%s %s/install.sh | sh -eu\n\n", curl, base)
	}
	if len(d.fingerprints) > 0 {
		b.WriteString("# fingerprints of the OpenPGP keys, to compare when dnf asks; trust those that serve printed\n")
		for _, f := range d.fingerprints {
			fmt.Fprintf(&b, "#   %s\n", f)
		}
		b.WriteString("\n")
	}
	for _, distro := range d.yum {
		fmt.Fprintf(&b, "# packages of %s\n%s -o /etc/yum.repos.d/offk8s.repo %s/config/%s.repo\n\n", distro, curl, base, distro)
	}
	for _, distro := range d.apt {
		fmt.Fprintf(&b, "# packages of %s\nmkdir -p /etc/apt/keyrings\n%s -o %s %s/offk8s.asc\n", distro, curl, keyringPath, base)
		fmt.Fprintf(&b, "%s -o /etc/apt/apt.conf.d/90offk8s %s/config/%s.apt.conf\n", curl, base, distro)
		fmt.Fprintf(&b, "%s -o /etc/apt/sources.list.d/offk8s.sources %s/config/%s.sources\n\n", curl, base, distro)
	}
	if len(d.images) > 0 {
		fmt.Fprintf(&b, "# images: containerd 1.5 and later; older ones and docker: %s/config/containerd-v1.toml, %s/config/docker-daemon.json\n", base, base)
		fmt.Fprintf(&b, "%s --create-dirs -o /etc/containerd/certs.d/_default/hosts.toml %s/config/hosts.toml\n", curl, base)
		_, host, _ := strings.Cut(base, "://")
		fmt.Fprintf(&b, "# or by name from anywhere: %s/%s\n", host, d.images[0])
		b.WriteString("# the bundle holds one platform of an image, or a few: skopeo copy and sync without --all\n")
	}
	return b.String()
}
