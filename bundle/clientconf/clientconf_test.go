package clientconf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/test/testenv"
)

const ca = "/etc/offk8s/ca.crt"

func TestYumRepo(t *testing.T) {
	repo := YumRepo{Distro: "rocky-9", Arch: "$basearch", Keys: []string{"https://dmz/offk8s.asc", "file:///etc/rocky.asc"}}
	want := `[offk8s]
name=offk8s packages for rocky-9
baseurl=https://dmz:8443/yum/rocky-9/$basearch
enabled=1
# The vendor signs the packages, the key of the bundle signs the metadata.
gpgcheck=1
repo_gpgcheck=1
gpgkey=https://dmz/offk8s.asc
       file:///etc/rocky.asc
sslverify=1
sslcacert=/etc/offk8s/ca.crt
proxy=_none_
metadata_expire=60
skip_if_unavailable=0
module_hotfixes=1
`
	if diff := cmp.Diff(want, Config{URLs: []string{"https://dmz:8443"}, CAFile: ca}.YumRepo(repo)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := (Config{URLs: []string{"https://dmz"}}).YumRepo(repo); strings.Contains(got, "sslcacert") || !strings.Contains(got, "\nsslverify=1\n") {
		t.Errorf("without a CA:\n%s", got)
	}
}

func TestApt(t *testing.T) {
	want := "Types: deb\nURIs: https://dmz:8443/apt/debian-12\nSuites: offk8s\nComponents: main\nSigned-By: /etc/offk8s.asc\n"
	if diff := cmp.Diff(want, Config{URLs: []string{"https://dmz:8443"}, CAFile: ca}.AptSources("debian-12", "/etc/offk8s.asc", "")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	none := "// The certificates of the system verify this mirror.\n"
	for _, tt := range []struct {
		name, want string
		config     Config
	}{
		{"port", "Acquire::https::dmz::CAInfo \"/etc/offk8s/ca.crt\";\n", Config{URLs: []string{"https://dmz:8443"}, CAFile: ca}},
		{"no port", "Acquire::https::dmz.example::CAInfo \"/etc/offk8s/ca.crt\";\n", Config{URLs: []string{"https://dmz.example"}, CAFile: ca}},
		{"IPv6", "Acquire::https::fd00::5::CAInfo \"/etc/offk8s/ca.crt\";\n", Config{URLs: []string{"https://[fd00::5]:8443"}, CAFile: ca}},
		{"no CA", none, Config{URLs: []string{"https://dmz"}}},
		{"http", none, Config{URLs: []string{"http://dmz"}, CAFile: ca}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.config.AptConf(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestHostsTOML(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		config     Config
	}{
		{"CA", `server = "https://dmz:8443"
ca = "/etc/offk8s/ca.crt"

[host."https://dmz:8443"]
capabilities = ["pull", "resolve"]
ca = "/etc/offk8s/ca.crt"
`, Config{URLs: []string{"https://dmz:8443"}, CAFile: ca}},
		{"no CA", `server = "http://10.0.0.3"

[host."http://10.0.0.3"]
capabilities = ["pull", "resolve"]
`, Config{URLs: []string{"http://10.0.0.3"}}},
		{"IPv6", `server = "https://[fd00::5]:8443"
ca = "/etc/offk8s/ca.crt"

[host]
"https://[fd00::5]:8443" = { capabilities = ["pull", "resolve"], ca = "/etc/offk8s/ca.crt" }
`, Config{URLs: []string{"https://[fd00::5]:8443"}, CAFile: ca}},
		{"peer", `server = "https://dmz:8443"
ca = "/etc/offk8s/ca.crt"

[host."http://10.0.0.11:30020"]
capabilities = ["pull"]
dial_timeout = "200ms"

[host."https://dmz:8443"]
capabilities = ["pull", "resolve"]
ca = "/etc/offk8s/ca.crt"
`, Config{URLs: []string{"https://dmz:8443"}, CAFile: ca, Peer: "http://10.0.0.11:30020"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.config.HostsTOML()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestContainerdMirrors(t *testing.T) {
	want := `[plugins.cri.registry]
  [plugins.cri.registry.mirrors."docker.io"]
    endpoint = ["https://dmz:8443/v2/docker.io"]
  [plugins.cri.registry.mirrors."registry.k8s.io"]
    endpoint = ["https://dmz:8443/v2/registry.k8s.io"]
  [plugins.cri.registry.configs]
    "dmz:8443" = { tls = { ca_file = "/etc/offk8s/ca.crt" } }
`
	got := Config{URLs: []string{"https://dmz:8443"}, CAFile: ca}.ContainerdMirrors([]string{"docker.io", "registry.k8s.io"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// containerd 1.x reads the configuration of older versions too.
func TestContainerdReadsMirrors(t *testing.T) {
	testenv.NeedTool(t, "containerd")
	for _, host := range []string{"dmz:8443", "[fd00::5]:8443"} {
		file := filepath.Join(t.TempDir(), "config.toml")
		text := Config{URLs: []string{"https://" + host}, CAFile: ca}.ContainerdMirrors([]string{"docker.io"})
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "containerd", "--config", file, "config", "dump").CombinedOutput()
		for _, want := range []string{`registry.configs."` + host + `".tls]`, `ca_file = "` + ca + `"`, `endpoint = ["https://` + host + `/v2/docker.io"]`} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %v, no %q in:\n%s", host, err, want, out)
			}
		}
	}
}

func TestDockerDaemon(t *testing.T) {
	want := "{\n  \"registry-mirrors\": [\n    \"https://dmz:8443\"\n  ]\n}\n"
	if got := (Config{URLs: []string{"https://dmz:8443"}}).DockerDaemon(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	want = "{\n  \"insecure-registries\": [\n    \"dmz:8080\"\n  ],\n  \"registry-mirrors\": [\n    \"http://dmz:8080\",\n    \"https://two\"\n  ]\n}\n"
	if got := (Config{URLs: []string{"http://dmz:8080", "https://two"}}).DockerDaemon(); got != want {
		t.Errorf("without TLS: %q, want %q", got, want)
	}
}

// Several mirrors are alternatives: no client takes them for several repositories.
func TestSeveralMirrors(t *testing.T) {
	c := Config{URLs: []string{"https://one:8443", "https://two"}, CAFile: ca}
	for name, tt := range map[string]struct{ got, want string }{
		"yum":        {c.YumRepo(YumRepo{Distro: "rocky-9", Arch: "x86_64"}), "baseurl=https://one:8443/yum/rocky-9/x86_64\n       https://two/yum/rocky-9/x86_64\n"},
		"apt":        {c.AptSources("debian-12", "/k", "/etc/list"), "URIs: mirror+file:/etc/list\n"},
		"apt list":   {c.AptMirrors("debian-12"), "https://one:8443/apt/debian-12/\tpriority:1\nhttps://two/apt/debian-12/\tpriority:2\n"},
		"apt CA":     {c.AptConf(), "Acquire::https::one::CAInfo \"/etc/offk8s/ca.crt\";\nAcquire::https::two::CAInfo"},
		"containerd": {c.HostsTOML(), "ca = \"/etc/offk8s/ca.crt\"\n\n[host.\"https://two\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"/etc/offk8s/ca.crt\"\n"},
		"old":        {c.ContainerdMirrors([]string{"docker.io"}), `endpoint = ["https://one:8443/v2/docker.io", "https://two/v2/docker.io"]`},
		"old CA":     {c.ContainerdMirrors(nil), "    \"one:8443\" = { tls = { ca_file = \"/etc/offk8s/ca.crt\" } }\n    \"two\" = { tls"},
		"docker":     {c.DockerDaemon(), "\"https://one:8443\",\n    \"https://two\"\n"},
	} {
		if !strings.Contains(tt.got, tt.want) {
			t.Errorf("%s: no %q in\n%s", name, tt.want, tt.got)
		}
	}
	if list := (Config{URLs: []string{"https://one"}}).AptMirrors("debian-12"); list != "" {
		t.Errorf("list of one: %q", list)
	}
}

func TestRegistriesConf(t *testing.T) {
	c := Config{URLs: []string{"https://a:8443", "http://b"}, CAFile: "/ca.crt"}
	const want = `[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "a:8443/docker.io"
[[registry.mirror]]
location = "b/docker.io"
insecure = true
`
	if got := c.RegistriesConf([]string{"docker.io"}); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	// podman 4.3 ends with "invalid reference format" at such a location.
	const note = "# names of images hold no IPv6 address: a mirror needs a host name here\n"
	c.URLs = append(c.URLs, "https://[fd00::5]:8443")
	if got := c.RegistriesConf([]string{"docker.io"}); got != note+want {
		t.Errorf("with an IPv6 address: %s", got)
	}
	c.URLs = c.URLs[2:]
	if got := c.RegistriesConf([]string{"docker.io"}); got != note {
		t.Errorf("with an IPv6 address alone: %s", got)
	}
}
