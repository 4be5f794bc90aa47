package mirror

import (
	"fmt"
	"net/http"
	"net/url"
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
		c := clientconf.Config{URLs: []string{base}}
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
		keys := []string{c.URLs[0] + "/offk8s.asc"}
		for _, path := range d.yumKeys[distro] {
			keys = append(keys, c.URLs[0]+path)
		}
		return c.YumRepo(clientconf.YumRepo{Distro: distro, Arch: "$basearch", Keys: keys})
	}
}

func aptSources(distro string) func(clientconf.Config) string {
	return func(c clientconf.Config) string { return c.AptSources(distro, keyringPath, "") }
}

func (d *pageData) containerdMirrors(c clientconf.Config) string {
	return c.ContainerdMirrors(d.registries)
}

func (d *pageData) registriesConf(c clientconf.Config) string {
	return c.RegistriesConf(d.registries)
}

// ClientConfig returns the shell commands that configure a host for this mirror
// at baseURL, with a comment before each. The output of serve and the home page
// show them.
func (m *Mirror) ClientConfig(baseURL string) string {
	return m.pageData.clientConfig(strings.TrimSuffix(baseURL, "/"))
}

func (d *pageData) clientConfig(base string) string {
	var b strings.Builder
	if len(d.keys) > 0 {
		b.WriteString("# fingerprints of the OpenPGP keys, to compare when dnf asks; trust those that serve printed\n")
		for _, k := range d.keys {
			fmt.Fprintf(&b, "#   %s  %s\n", k.Fingerprint, k.Path)
		}
		b.WriteString("\n")
	}
	for _, s := range d.steps(base) {
		b.WriteString(s.Commands + "\n")
	}
	return b.String()
}

// clientStep is a part of the set-up of a client.
type clientStep struct {
	Key      string // of its title in texts
	Name     string // distribution
	Commands string // for sh
}

// steps returns the set-up of a client in the order in which the parts rely on each
// other.
func (d *pageData) steps(base string) []clientStep {
	curl := "curl -fsS"
	ask := "curl -fsSk"
	if clientconf.IsIPv6(base) {
		curl, ask = curl+" -g", ask+" -g" // the brackets of an IPv6 address are no pattern
	}
	var steps []clientStep
	add := func(key, name, format string, args ...any) {
		steps = append(steps, clientStep{key, name, fmt.Sprintf(format, args...)})
	}
	if len(d.ca) > 0 {
		curl += " --cacert " + caPath
		// Only the first certificate is kept, the one whose digest is compared: more of
		// them in the answer would be trusted too.
		add("step-ca", "", `# the mirror's CA, as root; it is removed again unless its fingerprint is this one, which must be the one that serve printed:
# %[1]s
mkdir -p /etc/offk8s && %[2]s %[3]s/ca.crt | openssl x509 -out %[4]s
openssl x509 -in %[4]s -outform der | openssl dgst -sha256 -r | grep -q '^%[5]s' || { rm -f %[4]s; echo 'no CA with this fingerprint: the file was removed' >&2; false; }
`, d.fingerprint(), ask, base, caPath, strings.TrimPrefix(d.fingerprint(), "sha256:"))
	}
	if d.passwords {
		curl += " -n"
		add("step-password", "", "%s", passwordStep(base))
	}
	if len(d.binaries) > 0 {
		add("step-offk8s", "", "# offk8s itself, into the current directory; needs no root\n%s %s/install.sh | sh -eu\n", curl, base)
	}
	for _, distro := range d.yum {
		add("step-yum", distro, `# packages of %[1]s, as root
%[2]s -o /etc/yum.repos.d/offk8s.repo %[3]s/config/%[1]s.repo
# if the host reaches no other repository: dnf --disablerepo='*' --enablerepo=offk8s install NAME (yum too)
`, distro, curl, base)
	}
	for _, distro := range d.apt {
		add("step-apt", distro, `# packages of %[1]s, as root
mkdir -p /etc/apt/keyrings
%[2]s -o %[4]s %[3]s/offk8s.asc
%[2]s -o /etc/apt/apt.conf.d/90offk8s %[3]s/config/%[1]s.apt.conf
%[2]s -o /etc/apt/sources.list.d/offk8s.sources %[3]s/config/%[1]s.sources
# if the host reaches no other source: apt-get %[5]s update, then apt-get install NAME
`, distro, curl, base, keyringPath, onlyOffk8s)
	}
	if len(d.images) > 0 {
		add("step-images", "", "%s", d.imageStep(base, curl))
	}
	if len(d.charts) > 0 {
		add("step-charts", "", "%s", d.chartStep(base))
	}
	return steps
}

// passwordStep returns the set-up of clients of a mirror that wants a password. curl, wget
// and install.sh take it from ~/.netrc, whose format apt has too.
func passwordStep(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return "" // baseURL returns URLs
	}
	return fmt.Sprintf(`# this mirror wants a user and a password; write this line into ~/.netrc, with yours, for the commands below:
# machine %[1]s login USER password PASSWORD
chmod 600 ~/.netrc
# apt, as root: install -D -m 600 ~/.netrc /etc/apt/auth.conf.d/offk8s.conf
# dnf and yum: username=USER and password=PASSWORD in offk8s.repo, chmod 600
# containerd: at the end of hosts.toml, chmod 600, both with the output of: printf %%s USER:PASSWORD | base64
#   [header]
#   Authorization = "Basic OUTPUT"
#   [host.%[2]q.header]
#   Authorization = "Basic OUTPUT"
# docker, podman, skopeo: login %[3]s; docker uses it for names with that prefix, and not for registry-mirrors
# helm: registry login %[3]s, and repo add with --username and --password-stdin
`, u.Hostname(), base, u.Host)
}

// onlyOffk8s makes apt-get read the sources of the mirror and no others.
const onlyOffk8s = "-o Dir::Etc::SourceList=sources.list.d/offk8s.sources -o Dir::Etc::SourceParts=/dev/null"

// imageStep returns the set-up of container runtimes.
func (d *pageData) imageStep(base, curl string) string {
	_, host, _ := strings.Cut(base, "://")
	var b strings.Builder
	fmt.Fprintf(&b, "# images with containerd 1.5 and later, as root; its config_path is /etc/containerd/certs.d (older ones: %s/config/containerd-v1.toml)\n", base)
	fmt.Fprintf(&b, "%s --create-dirs -o /etc/containerd/certs.d/_default/hosts.toml %s/config/hosts.toml\n", curl, base)
	const platforms = "# the bundle holds one platform of an image, or a few: skopeo copy and sync without --all, ctr of containerd 2 with --skip-metadata\n"
	if clientconf.IsIPv6(base) {
		return b.String() + "# docker, podman, skopeo, buildah and CRI-O take no IPv6 address: start serve with --public-url https://NAME:PORT, a name of the mirror\n" + platforms
	}
	if len(d.ca) > 0 {
		fmt.Fprintf(&b, "# images with docker, as root; for Docker Hub, daemon.json also needs the content of %s/config/docker-daemon.json\n", base)
		fmt.Fprintf(&b, "mkdir -p '/etc/docker/certs.d/%[1]s' && cp %[2]s '/etc/docker/certs.d/%[1]s/ca.crt'\n", host, caPath)
	}
	if strings.HasPrefix(base, "http:") {
		fmt.Fprintf(&b, "# images with docker, as root: daemon.json needs the content of %s/config/docker-daemon.json\n", base)
	}
	fmt.Fprintf(&b, "# images with podman, buildah and CRI-O, as root\n%s --create-dirs -o /etc/containers/registries.conf.d/offk8s.conf %s/config/registries.conf\n", curl, base)
	if len(d.ca) > 0 {
		fmt.Fprintf(&b, "mkdir -p '/etc/containers/certs.d/%[1]s' && cp %[2]s '/etc/containers/certs.d/%[1]s/ca.crt'\n", host, caPath)
	}
	fmt.Fprintf(&b, "# or by name from anywhere: %s/%s\n", host, d.images[0])
	return b.String() + platforms
}
