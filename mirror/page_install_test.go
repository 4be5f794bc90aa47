package mirror

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/test/testenv"
)

// program stands for the offk8s binary.
const program = "#!/bin/sh\necho program of $0\n"

// installLab serves a program for this machine over TLS; alter changes it on
// the way.
func installLab(t *testing.T, alter func([]byte) []byte) (url, ca string) {
	t.Helper()
	b := bundletest.New(t)
	b.AddFile(t, "offk8s", "offk8s/v1/offk8s", []byte(program), true)
	b.Lock.Artifacts[0].Platform = "linux/" + runtime.GOARCH
	caPEM, _, cert := testCertificate(t)
	m := mirrorOf(t, Options{CA: caPEM}, openBundle(t, b))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if alter == nil || !strings.HasPrefix(r.URL.Path, "/files/") {
			m.ServeHTTP(w, r)
			return
		}
		good := httptest.NewRecorder()
		m.ServeHTTP(good, r)
		_, _ = w.Write(alter(good.Body.Bytes()))
	}))
	server.TLS = tlsConfig(cert)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, caPEM, 0o644); err != nil {
		t.Fatal(err)
	}
	return "https://" + server.Listener.Addr().String(), ca
}

// install runs the script as a person would; path limits the programs it finds.
func install(t *testing.T, url, ca, path string) (dir, out string, err error) {
	t.Helper()
	dir = t.TempDir()
	script := runTool(t, nil, "curl", "-fsS", "--cacert", ca, url+"/install.sh")
	cmd := exec.CommandContext(t.Context(), "sh", "-eu")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(script)
	if path != "" {
		cmd.Env = []string{"PATH=" + path}
	}
	b, err := cmd.CombinedOutput()
	return dir, string(b), err
}

// onlyTools returns a PATH with names and the other programs that the script needs.
func onlyTools(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(names, "sh", "uname", "mktemp", "rm", "cat", "cut", "chmod", "mv") {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestInstallScript(t *testing.T) {
	testenv.NeedTool(t, "curl", "wget", "openssl", "sha256sum", "sh")
	url, ca := installLab(t, nil)
	for name, path := range map[string]string{
		"everything": "", "wget and openssl": onlyTools(t, "wget", "openssl"), "curl": onlyTools(t, "curl", "sha256sum"),
	} {
		dir, out, err := install(t, url, ca, path)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		if !strings.Contains(out, "--key offk8s.pub --mirror "+url) {
			t.Errorf("%s: the next step is not printed:\n%s", name, out)
		}
		if got := runTool(t, nil, filepath.Join(dir, "offk8s")); !strings.HasPrefix(got, "program of") {
			t.Errorf("%s: program says %q", name, got)
		}
		onlyFile(t, dir, "offk8s")
	}
}

func onlyFile(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range list {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

func TestInstallScriptRefuses(t *testing.T) {
	testenv.NeedTool(t, "curl", "sha256sum", "sh")
	altered, alteredCA := installLab(t, func(b []byte) []byte { return append(b, '\n') })
	good, goodCA := installLab(t, nil)
	tests := []struct{ name, url, ca, path, want string }{
		{"an altered program", altered, alteredCA, "", "expected"},
		{"no downloader", good, goodCA, onlyTools(t, "sha256sum"), "neither curl nor wget"},
	}
	for _, tt := range tests {
		dir, out, err := install(t, tt.url, tt.ca, tt.path)
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
		onlyFile(t, dir)
	}
}

// A script that arrives only in part must do nothing.
func TestInstallScriptCutShort(t *testing.T) {
	testenv.NeedTool(t, "sh")
	m := configured(t, Options{PublicURL: "https://127.0.0.1:1", CA: testCA})
	script := body(t, get(m, "GET", "/install.sh"))
	for n := 0; n < len(script)-len("main \"$@\"\n"); n += 61 {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-eu")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(script[:n])
		_ = cmd.Run() // most cuts are syntax errors
		onlyFile(t, dir)
	}
}

func TestInstallScriptIsClean(t *testing.T) {
	testenv.NeedTool(t, "shellcheck")
	m := configured(t, Options{PublicURL: "https://dmz:8443", CA: testCA})
	file := filepath.Join(t.TempDir(), "install.sh")
	if err := os.WriteFile(file, []byte(body(t, get(m, "GET", "/install.sh"))), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := tryTool(t, nil, "shellcheck", "--shell=sh", file); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

func TestInstallScriptNeedsAProgram(t *testing.T) {
	s := newSample(t)
	if r := get(mirrorOf(t, Options{}, s.Bundle), "GET", "/install.sh"); r.StatusCode != http.StatusNotFound {
		t.Errorf("status %d, want 404: the bundle holds no offk8s", r.StatusCode)
	}
}
