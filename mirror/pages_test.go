package mirror

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"html"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/test/testenv"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testCA is no certificate: nothing here looks into it.
var testCA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("not a real certificate")})

// configured is a mirror with everything that generated configuration depends on.
func configured(t *testing.T, o Options) *Mirror {
	t.Helper()
	s := newSample(t, func(b *bundletest.Builder) {
		for _, arch := range []string{"amd64", "arm64"} {
			b.AddFile(t, "offk8s", "offk8s/"+arch+"/offk8s", []byte("program for "+arch), false)
			b.Lock.Artifacts[len(b.Lock.Artifacts)-1].Platform = "linux/" + arch
		}
		b.Lock.DistroData = map[string]catalog.Distro{"rocky-9": {
			Yum:  []catalog.YumRepository{{KeyFiles: []string{"rocky-9.asc"}}, {KeyFiles: []string{"rocky-9.asc", "missing.asc"}}},
			Keys: map[string]string{"rocky-9.asc": "vendor key\n"},
		}}
	})
	return mirrorOf(t, o, s.Bundle)
}

func TestGeneratedConfiguration(t *testing.T) {
	m := configured(t, Options{PublicURL: "https://dmz.example:8443/", CA: testCA})
	for _, path := range []string{
		"/", "/install.sh", "/config/rocky-9.repo", "/config/debian-12.sources", "/config/debian-12.apt.conf",
		"/config/hosts.toml", "/config/containerd-v1.toml", "/config/docker-daemon.json", "/config/registries.conf",
	} {
		r := get(m, "GET", path)
		if r.StatusCode != 200 {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
		name := filepath.Base(path)
		if path == "/" {
			name = "index.txt"
		}
		got := body(t, r)
		for _, off := range []string{"gpgcheck=0", "sslverify=0", "skip_verify", "trusted=yes", "Verify-Peer", "--insecure", "http://"} {
			if strings.Contains(strings.ToLower(got), strings.ToLower(off)) {
				t.Errorf("%s switches a check off: %q", path, off)
			}
		}
		golden(t, name, withoutRoot(m, got))
	}
	if got := body(t, get(m, "GET", "/keys/rocky-9/rocky-9.asc")); got != "vendor key\n" {
		t.Errorf("vendor key: %q", got)
	}
	m.pageData.now = func() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }
	index := get(m, "GET", "/", "Accept", "text/html,*/*")
	golden(t, "index.html", withoutRoot(m, body(t, index)))
	list := get(m, "GET", "/files/cni/", "Accept", "text/html,*/*", "Accept-Language", "zh-CN,zh;q=0.9,en;q=0.8")
	golden(t, "list.html", body(t, list))
}

// withoutRoot replaces the root of the bundle and the fingerprint of its OpenPGP
// key, which depend on the key that signs it.
func withoutRoot(m *Mirror, page string) string {
	page = strings.ReplaceAll(page, m.bundles[0].Root().String(), "ROOT")
	for _, k := range m.pageData.keys {
		page = strings.ReplaceAll(page, k.Fingerprint, "FINGERPRINT")
	}
	for _, s := range m.pageData.summaries {
		page = strings.ReplaceAll(page, s.Signer, "SIGNER")
	}
	return page
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestT36EveryCheckStaysOn(t *testing.T) {
	m := configured(t, Options{PublicURL: "https://dmz:8443", CA: testCA})
	for path, wants := range map[string][]string{
		"/config/rocky-9.repo": {
			"\ngpgcheck=1\n", "\nrepo_gpgcheck=1\n", "\nsslverify=1\n", "\nsslcacert=/etc/offk8s/ca.crt\n",
			"gpgkey=https://dmz:8443/offk8s.asc\n       https://dmz:8443/keys/rocky-9/rocky-9.asc\n",
		},
		"/config/debian-12.sources":  {"\nSigned-By: /etc/apt/keyrings/offk8s.asc\n", "URIs: https://dmz:8443/apt/debian-12\n", "Components: main\n"},
		"/config/debian-12.apt.conf": {`Acquire::https::dmz::CAInfo "/etc/offk8s/ca.crt";`},
		"/config/hosts.toml":         {`ca = "/etc/offk8s/ca.crt"`, `capabilities = ["pull", "resolve"]`},
		"/config/containerd-v1.toml": {`ca_file = "/etc/offk8s/ca.crt"`, `endpoint = ["https://dmz:8443/v2/registry.k8s.io"]`},
	} {
		got := "\n" + body(t, get(m, "GET", path))
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q:\n%s", path, want, got)
			}
		}
	}
}

func TestDockerDaemonIsJSON(t *testing.T) {
	m := configured(t, Options{PublicURL: "https://dmz:8443"})
	var got map[string][]string
	if err := json.Unmarshal([]byte(body(t, get(m, "GET", "/config/docker-daemon.json"))), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"registry-mirrors": {"https://dmz:8443"}}, got); diff != "" {
		t.Error(diff)
	}
}

// The base URL is written into scripts, so the Host of a request is checked.
func TestHostOfTheRequestIsChecked(t *testing.T) {
	m := configured(t, Options{})
	for host, want := range map[string]string{
		"dmz:8443": "https://dmz:8443/", "10.0.0.1": "https://10.0.0.1/", "[fd00::1]:8443": "https://[fd00::1]:8443/",
		"": "", "a b": "", "dmz'; reboot; '": "", "dmz/..": "", "dmz:port": "", "-dmz": "", "dmz\nx": "", "u@dmz": "", "dmz`id`": "",
	} {
		for _, path := range []string{"/install.sh", "/config/rocky-9.repo", "/"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = host
			r.TLS = &tls.ConnectionState{}
			w := httptest.NewRecorder()
			m.ServeHTTP(w, r)
			if want == "" && w.Code != 400 {
				t.Errorf("host %q: %s: status %d, want 400", host, path, w.Code)
			}
			if want != "" && !strings.Contains(w.Body.String(), strings.TrimSuffix(want, "/")) {
				t.Errorf("host %q: %s does not name %q", host, path, want)
			}
		}
	}
}

// Names from the bundle are text, whatever they contain.
func TestT34IndexIsEscaped(t *testing.T) {
	s := newSample(t)
	s.Lock().Name = `<script>alert("x")</script>`
	s.Lock().CNI = "flannel\x1b[31m"
	hostile := `a"><script>alert(1)<?#&b`
	s.Files()[0].Group, s.Files()[0].Path = "files", "x/"+hostile
	s.Lock().Artifacts[0].Name = hostile
	m := mirrorOf(t, Options{}, s.Bundle)
	for path, query := range map[string]string{"/": "", "/?q=a%22%3E%3Cscript": `a"><script`, "/?lang=%22%3E%3Cscript": "", "/files/x/": ""} {
		got := strings.ReplaceAll(body(t, get(m, "GET", path, "Accept", "text/html")), "<script>"+copyScript+"</script>", "")
		if strings.Contains(got, "<script") || strings.Contains(got, `"><s`) || !strings.Contains(got, "</html>") {
			t.Errorf("%s: not escaped:\n%s", path, got)
		}
		if query != "" && !strings.Contains(got, html.EscapeString(query)) {
			t.Errorf("%s: the query is not shown:\n%s", path, got)
		}
	}
	r := get(m, "GET", "/", "Accept", "text/html")
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Content-Security-Policy": policy,
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// Of scripts, the one of the mirror runs, and no other.
	sum := sha256.Sum256([]byte(copyScript))
	if page := body(t, r); strings.Count(page, "<script>"+copyScript+"</script>") != 1 ||
		!strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; base-uri") {
		t.Errorf("policy %q, page\n%s", policy, page)
	}
	text := get(m, "GET", "/", "Accept", "*/*")
	if got := body(t, text); strings.Contains(got, "\x1b") || text.Header.Get("Content-Type") != typeText {
		t.Errorf("text for terminals: type %q, %q", text.Header.Get("Content-Type"), got)
	}
	for name := range text.Header {
		if name == "Server" || name == "X-Powered-By" {
			t.Errorf("the answer says what serves it: %s", name)
		}
	}
}

func TestOnlyCertificatesArePublished(t *testing.T) {
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}), testCA...)
	m := configured(t, Options{CA: both})
	if got := body(t, get(m, "GET", "/ca.crt")); got != string(testCA) {
		t.Errorf("/ca.crt: %q", got)
	}
}

func TestConfigurationWithoutCA(t *testing.T) {
	m := configured(t, Options{PublicURL: "http://dmz"})
	for _, path := range []string{"/", "/config/rocky-9.repo", "/config/debian-12.apt.conf", "/config/hosts.toml", "/config/containerd-v1.toml"} {
		if got := body(t, get(m, "GET", path)); strings.Contains(got, caPath) {
			t.Errorf("%s names a CA although there is none:\n%s", path, got)
		}
	}
}

func TestClientConfig(t *testing.T) {
	m := configured(t, Options{CA: testCA})
	got := m.ClientConfig("https://dmz:8443/")
	for _, want := range []string{
		"https://dmz:8443/install.sh", "https://dmz:8443/config/rocky-9.repo", "https://dmz:8443/config/debian-12.sources",
		"https://dmz:8443/config/hosts.toml", m.pageData.fingerprint(),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	testenv.NeedTool(t, "sh")
	if out, err := tryTool(t, nil, "sh", "-n", "-c", got); err != nil {
		t.Errorf("the commands are no shell script: %v\n%s", err, out)
	}
	if got := configured(t, Options{}).ClientConfig("http://dmz:8080"); !strings.Contains(got, "daemon.json needs the content of http://dmz:8080/config/docker-daemon.json") {
		t.Errorf("without TLS, docker is left out:\n%s", got)
	}
	// Clients whose names of images hold no IPv6 address get no commands that fail.
	got = m.ClientConfig("https://[fd00::5]:8443")
	for want, has := range map[string]bool{
		"/config/hosts.toml": true, "--public-url https://NAME:PORT": true, "--skip-metadata": true,
		"certs.d/[": false, "registries.conf": false, "by name from anywhere": false,
	} {
		if strings.Contains(got, want) != has {
			t.Errorf("%q with an IPv6 address: %v, want %v\n%s", want, !has, has, got)
		}
	}
}
