package apt

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/test/testenv"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// aptClient is a private apt: its own sources, state and cache below dir.
type aptClient struct{ dir string }

func newAptClient(t testing.TB, url string, key []byte) aptClient {
	t.Helper()
	c := aptClient{t.TempDir()}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	keyring := filepath.Join(c.dir, "etc", "offk8s.asc")
	for name, b := range map[string]string{
		"status":          "",
		"etc/offk8s.asc":  string(key),
		"etc/our.sources": "Types: deb\nURIs: " + url + "\nSuites: " + suiteName + "\nComponents: main\nSigned-By: " + keyring + "\n",
		"etc/apt.conf": "APT::Architecture \"amd64\";\nAPT::Architectures { \"amd64\"; };\nDir \"" + c.dir + "\";\n" +
			"Dir::State \"state\";\nDir::State::status \"" + c.dir + "/status\";\nDir::Cache \"cache\";\nDir::Etc \"etc\";\n" +
			"Dir::Etc::SourceParts \"" + c.dir + "/etc\";\nDir::Etc::SourceList \"/dev/null\";\nDir::Etc::Parts \"/dev/null\";\n" +
			"APT::Sandbox::User \"root\";\nDebug::NoLocking \"1\";\nAcquire::Retries \"0\";\nAcquire::Languages \"none\";\n",
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(b), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c aptClient) run(t testing.TB, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "APT_CONFIG="+filepath.Join(c.dir, "etc", "apt.conf"), "http_proxy=", "https_proxy=")
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// serve serves f and counts nothing: apt is the judge.
func serve(t testing.TB, f metadatatest.Files) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := f[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, r.URL.Path, metadatatest.Created, bytes.NewReader(b))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAptAcceptsOurRepository(t *testing.T) {
	testenv.NeedTool(t, "apt-get", "gpgv")
	testenv.NeedRoot(t)
	keys, _ := metadatatest.Key(t)
	stranger, _ := metadatatest.Stranger(t)
	f := repository(t, keys, options(),
		control("a", "1:1-1", "amd64", "Depends: b (>= 2)"),
		control("b", "2", "all"))
	c := newAptClient(t, serve(t, f), keys.OpenPGPPublic)
	if out, err := c.run(t, "update", "--error-on=any"); err != nil {
		t.Fatalf("update: %v\n%s", err, out)
	}
	out, err := c.run(t, "install", "--download-only", "-y", "a")
	if err != nil {
		t.Fatalf("download: %v\n%s", err, out)
	}
	for _, name := range []string{"a_1%3a1-1_amd64.deb", "b_2_all.deb"} {
		if _, err := os.Stat(filepath.Join(c.dir, "cache", "archives", name)); err != nil {
			t.Errorf("not downloaded: %v\n%s", err, out)
		}
	}

	tampered := func(name string) metadatatest.Files {
		g := metadatatest.Files{}
		for k, v := range f {
			g[k] = v
		}
		g[name] = append(bytes.Clone(g[name]), '\n')
		g[name][len(g[name])/2] ^= 1
		return g
	}
	for name, g := range map[string]metadatatest.Files{
		"InRelease": tampered("dists/offk8s/InRelease"),
		"Packages":  tampered("dists/offk8s/main/binary-amd64/Packages.gz"),
	} {
		delete(g, "dists/offk8s/Release")
		delete(g, "dists/offk8s/main/binary-amd64/Packages")
		if out, err := newAptClient(t, serve(t, g), keys.OpenPGPPublic).run(t, "update", "--error-on=any"); err == nil {
			t.Errorf("tampered %s accepted:\n%s", name, out)
		}
	}
	if out, err := newAptClient(t, serve(t, f), stranger.OpenPGPPublic).run(t, "update", "--error-on=any"); err == nil {
		t.Errorf("unknown key accepted:\n%s", out)
	}
	c = newAptClient(t, serve(t, tampered("pool/a/a/a_1-1_amd64.deb")), keys.OpenPGPPublic)
	if out, err := c.run(t, "update", "--error-on=any"); err != nil {
		t.Fatalf("update: %v\n%s", err, out)
	}
	if out, err := c.run(t, "install", "--download-only", "-y", "a"); err == nil {
		t.Errorf("tampered package accepted:\n%s", out)
	}
}
