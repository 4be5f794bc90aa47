package mirror

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/test/testenv"
)

// The user of tests.
const testUser, testPassword = "node", "pass:wörd"

func htpasswd(t testing.TB, name, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + strings.Replace(string(hash), "$2a$", "$2y$", 1) + "\n" // as htpasswd -B writes it
}

func passwordsOf(t testing.TB, text string) *Passwords {
	t.Helper()
	p := NewPasswords()
	if err := p.Load([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return p
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Everything needs the password but the answers for load balancers and the CA, which a
// client must compare before it sends a password.
func TestT37Passwords(t *testing.T) {
	var log bytes.Buffer
	text := "# users\n\n" + htpasswd(t, testUser, testPassword, bcrypt.MinCost) + htpasswd(t, "other", "secret", bcrypt.MinCost)
	ca, _, _ := testCertificate(t)
	m := mirrorOf(t, Options{CA: ca, Passwords: passwordsOf(t, text), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}, newSample(t).Bundle)
	for _, path := range []string{"/", "/v2/", "/v2/registry.k8s.io/pause/manifests/3.10", "/files/" + bundletest.PlainPath, "/bundle/index.json", "/config/hosts.toml", "/install.sh", "/nothing", "/healthz/", "/files/"} {
		for _, header := range []string{"", "Basic x", "Bearer " + testPassword, basic(testUser, "wrong"), basic(testUser, ""), basic("nobody", testPassword), basic(testUser, "secret")} {
			r := get(m, http.MethodGet, path, "Authorization", header)
			text := body(t, r)
			if want := `Basic realm="offk8s mirror", charset="UTF-8"`; r.StatusCode != http.StatusUnauthorized || r.Header.Get("WWW-Authenticate") != want {
				t.Errorf("%s with %q: status %d, %q", path, header, r.StatusCode, r.Header)
			}
			if registry := strings.HasPrefix(path, "/v2/"); registry != strings.Contains(text, `"code":"UNAUTHORIZED"`) {
				t.Errorf("%s: %s", path, text)
			}
		}
		if r := get(m, http.MethodGet, path, "Authorization", basic(testUser, testPassword)); r.StatusCode == http.StatusUnauthorized {
			t.Errorf("%s: the password is refused", path)
		}
	}
	for path := range openPaths {
		if r := get(m, http.MethodGet, path); r.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
	}
	if got := log.String(); !strings.Contains(got, "status=401") || strings.Contains(got, "wrong") || strings.Contains(got, "secret") {
		t.Errorf("wrong passwords are not in the log, or with their text:\n%s", got)
	}
}

// bcrypt runs once for a password that is right, and a new file counts at once.
func TestT37PasswordIsComparedOnce(t *testing.T) {
	p := passwordsOf(t, htpasswd(t, testUser, testPassword, bcrypt.MinCost))
	if !p.Allow(t.Context(), testUser, testPassword) {
		t.Fatal("refused")
	}
	for range passwordChecks {
		p.slots <- struct{}{} // no comparison can run any more
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if !p.Allow(gone, testUser, testPassword) {
		t.Error("the second time needs bcrypt")
	}
	if p.Allow(gone, testUser, "wrong") || p.Allow(gone, "nobody", testPassword) {
		t.Error("a wrong password does not need bcrypt")
	}
	for range passwordChecks {
		<-p.slots
	}
	if err := p.Load([]byte("broken")); err == nil || !p.Allow(gone, testUser, testPassword) {
		t.Errorf("a broken file: %v, or the users before it are gone", err)
	}
	if err := p.Load([]byte(htpasswd(t, testUser, "new", bcrypt.MinCost))); err != nil {
		t.Fatal(err)
	}
	if p.Allow(t.Context(), testUser, testPassword) || !p.Allow(t.Context(), testUser, "new") {
		t.Error("the old file counts")
	}
	if NewPasswords().Allow(t.Context(), "", "") {
		t.Error("without a file, everybody is allowed")
	}
}

func TestPasswordFiles(t *testing.T) {
	good := htpasswd(t, testUser, testPassword, bcrypt.MinCost)
	slow := strings.Replace(good, "$04$", "$15$", 1)
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "# nobody\n", "no user in it"},
		{"md5", good + "a:$apr1$x$2Xu0mn0sYdkdqpuPPjY8c/\n", "line 2: want USER:HASH with a bcrypt hash"},
		{"plain", "a:password\n", "line 1: want USER:HASH"},
		{"no user", ":" + strings.SplitN(good, ":", 2)[1], "line 1: want USER:HASH"},
		{"twice", good + "\n" + good, `line 3: the user "node" is there twice`},
		{"slow", slow, "line 1: a bcrypt hash of cost 15 takes too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := NewPasswords().Load([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "$") {
				t.Errorf("%v, want %q and no hash", err, tt.want)
			}
		})
	}
}

// lock makes the mirror want a password, which curl, wget and apt take from a file with
// the line that the page shows.
func (l *lab) lock(t *testing.T) {
	t.Helper()
	l.mirror.options.Passwords = passwordsOf(t, htpasswd(t, testUser, testPassword, bcrypt.MinCost))
	l.mirror.pageData.passwords = true
	line := ""
	for text := range strings.Lines(passwordStep(l.url)) {
		if strings.HasPrefix(text, "# machine ") {
			line = strings.NewReplacer("# ", "", "USER", testUser, "PASSWORD", testPassword).Replace(text)
		}
	}
	l.write(t, ".netrc", line)
	l.write(t, "etc/auth.conf.d/offk8s.conf", line)
}

func TestPasswordWithAptAndCurl(t *testing.T) {
	testenv.NeedTool(t, "apt-get", "dpkg", "dpkg-deb", "gpg", "curl")
	l, _ := aptLab(t)
	l.lock(t)
	if out, err := l.apt(t); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	l.write(t, "etc/auth.conf.d/offk8s.conf", "")
	if out, err := l.apt(t); err == nil || !strings.Contains(out, "401") {
		t.Errorf("without the password: %v\n%s", err, out)
	}
}

func TestPasswordWithDnf(t *testing.T) {
	testenv.NeedTool(t, "dnf", "rpmbuild", "rpmsign", "gpg", "curl")
	testenv.NeedRoot(t)
	home, key := vendor(t, "vendor")
	l := yumLab(t, buildRPM(t, home), map[string]string{"vendor.asc": key})
	l.lock(t)
	if out, err := l.dnf(t); err == nil || !strings.Contains(out, "401") {
		t.Errorf("without the password: %v\n%s", err, out)
	}
	l.alter("/config/rocky-9.repo", func(b []byte) []byte {
		return fmt.Appendf(b, "username=%s\npassword=%s\n", testUser, testPassword)
	})
	if out, err := l.dnf(t); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPasswordWithRegistryClients(t *testing.T) {
	testenv.NeedTool(t, "containerd", "ctr", "curl", "skopeo")
	testenv.NeedRoot(t)
	l := smallLab(t)
	l.lock(t)
	host := strings.TrimPrefix(l.url, "https://")
	args := []string{"--insecure-policy", "copy", "--quiet", "--src-cert-dir", filepath.Dir(l.ca), "--override-arch", runtime.GOARCH, "docker://" + host + "/" + bundletest.PauseImage, "dir:" + filepath.Join(l.dir, "copy")}
	if out, err := tryTool(t, nil, "skopeo", args...); err == nil || !strings.Contains(out, "authentication required") && !strings.Contains(out, "unauthorized") {
		t.Errorf("skopeo without the password: %v\n%s", err, out)
	}
	runTool(t, nil, "skopeo", append(args, "--src-creds", testUser+":"+testPassword)...)

	file := l.config(t, "/config/hosts.toml", "certs.d/_default/hosts.toml")
	c := startContainerd(t, "", t.TempDir())
	if out, err := c.fetch(l, bundletest.PauseImage); err == nil {
		t.Errorf("containerd without the password:\n%s", out)
	}
	toml := runTool(t, nil, "cat", file)
	for text := range strings.Lines(passwordStep(l.url)) {
		if line, ok := strings.CutPrefix(text, "#   "); ok {
			toml += strings.Replace(line, "Basic OUTPUT", basic(testUser, testPassword), 1)
		}
	}
	l.write(t, "certs.d/_default/hosts.toml", toml)
	if out, err := c.fetch(l, bundletest.PauseImage); err != nil {
		t.Errorf("containerd: %v\n%s\n%s", err, out, toml)
	}
	// The answer for an image that is not there comes with the password too.
	if out, err := c.fetch(l, "registry.k8s.io/pause:1.0"); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("containerd: %v\n%s", err, out)
	}
}
