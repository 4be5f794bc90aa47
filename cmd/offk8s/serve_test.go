package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"
)

// unitFor returns the unit for a command line of serve.
func unitFor(t *testing.T, args ...string) (unit, error) {
	t.Helper()
	cmd := newApp(nil, nil, nil).serveCommand()
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	get := func(name string) string { return cmd.Flags().Lookup(name).Value.String() }
	o := serveOptions{listen: get("listen"), state: get("state"), accessLog: get("access-log"), cache: get("cache")}
	o.cacheSize = *cmd.Flags().Lookup("cache-size").Value.(*sizeFlag)
	o.from, _ = cmd.Flags().GetStringArray("from")
	o.trust.keys, _ = cmd.Flags().GetStringArray("key")
	return newUnit(cmd, o, "/usr/local/bin/offk8s", cmd.Flags().Args())
}

func textsOf(t *testing.T, u unit) []unitFile {
	t.Helper()
	files, err := u.texts()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestUnit(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"default port", []string{"--key", "/etc/offk8s/a.pub", "--key", "/etc/offk8s/b.pub", "/srv/b.tar"}, []string{
			"\nExecStart=/usr/local/bin/offk8s serve --state=/var/lib/offk8s-mirror --key=/etc/offk8s/a.pub --key=/etc/offk8s/b.pub /srv/b.tar\n",
			"\nUser=offk8s-mirror\nDynamicUser=yes\n", "\nCapabilityBoundingSet=\n", "\nRequiresMountsFor=/srv\n",
			"\nRequires=offk8s-mirror.socket\nAfter=offk8s-mirror.socket ", "\nListenStream=8443\nBindIPv6Only=both\n",
		}},
		{"low port", []string{"--key", "/k.pub", "--listen", ":443", "--watch", "/a/x.tar", "/b/y.tar"}, []string{
			"\nCapabilityBoundingSet=\n", "\nListenStream=443\n", "--listen=:443 --watch=true /a/x.tar /b/y.tar\n",
			"\nRequiresMountsFor=/a\nRequiresMountsFor=/b\n",
		}},
		{"certificate", []string{"--key", "/k.pub", "--tls-cert", "/etc/m.crt", "--tls-key", "/etc/m key", "/b.tar"}, []string{
			"--tls-cert=/etc/m.crt --tls-key=${CREDENTIALS_DIRECTORY}/tls.key", "\nLoadCredential=tls.key:\"/etc/m key\"\n",
		}},
		{"words", []string{"--key", "/k.pub", `/srv/50% "of" $HOME.tar`}, []string{` "/srv/50%% \"of\" $$HOME.tar"` + "\n"}},
		{"registry", []string{"--key", "/k.pub", "--from", "oci://h/p", "--from-ca", "/etc/h.crt", "--cache-size", "2G"}, []string{
			"serve --state=/var/lib/offk8s-mirror --cache=/var/cache/offk8s-mirror --cache-size=2147483648 --from=oci://h/p --from-ca=/etc/h.crt --key=/k.pub\n",
			"\nCacheDirectory=offk8s-mirror\n",
		}},
		{"passwords", []string{"--key", "/k.pub", "--htpasswd", "/etc/offk8s/users", "/b.tar"}, []string{
			"--htpasswd=${CREDENTIALS_DIRECTORY}/htpasswd", "\nLoadCredential=htpasswd:/etc/offk8s/users\n",
		}},
		{"address", []string{"--key", "/k.pub", "--listen", "[fd00::5]:https", "/b.tar"}, []string{"\nListenStream=[fd00::5]:443\n"}},
		{"log", []string{"--key", "/k.pub", "--access-log", "/var/log/offk8s-mirror/a.json", "/b.tar"}, []string{"\nLogsDirectory=offk8s-mirror\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := unitFor(t, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			files := textsOf(t, u)
			text := files[0].text + files[1].text
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
	for want, args := range map[string][]string{
		"keeps its state in": {"--state", "/x", "/b.tar"},
		"keeps its cache in": {"--cache", "/x", "--from", "oci://h/p"},
		"found a name":       {"--listen", "mirror.example:8443", "/b.tar"},
		"from 1 to 65535":    {"--listen", ":0", "/b.tar"},
		"cannot write there": {"--access-log", "/var/log/x.json", "/b.tar"},
	} {
		if _, err := unitFor(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}

// The unit must not start where its user cannot read the files.
func TestUnitChecksItsFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "b.tar")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{file: "/tmp/ is hidden", "/root/b.tar": "/root/ is hidden", "/no/such": "no such file"} {
		if !strings.HasPrefix(dir, "/tmp/") && name == file {
			want = "has mode 0600"
		}
		if err := (unit{files: []string{name}}).check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if err := (unit{secrets: []string{"/no/such"}}).check(); err == nil || !strings.Contains(err.Error(), "/no/such") {
		t.Errorf("a secret that is missing: %v", err)
	}
	if err := (unit{files: []string{"/etc/passwd"}, secrets: []string{file}}).check(); err != nil {
		t.Errorf("/etc/passwd: %v", err)
	}
}

func TestUnitIsOneOfSystemd(t *testing.T) {
	testenv.NeedTool(t, "systemd-analyze")
	u, err := unitFor(t, "--key", "/k.pub", "--listen", ":443", "/srv/b.tar")
	if err != nil {
		t.Fatal(err)
	}
	u.Command = "/bin/true"
	dir, args := t.TempDir(), []string{"verify", "--man=no"}
	for _, f := range textsOf(t, u) {
		path := filepath.Join(dir, filepath.Base(f.path))
		if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	if strings.Contains(string(out), unitName) {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestInstallUnit(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	var calls []string
	version := "systemd 252 (252.1)\n+PAM\n"
	run := func(_ context.Context, args ...string) (string, error) {
		calls = append(calls, strings.Join(args, " "))
		if args[0] == "start" && strings.Contains(version, "253") {
			return "Job failed\n", errors.New("exit status 1")
		}
		return version, nil
	}
	files := []unitFile{{"etc/systemd/system/offk8s-mirror.service", "the service"}, {"etc/systemd/system/offk8s-mirror.socket", "the socket"}}
	if err := installUnit(t.Context(), root, files, run); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(calls, ", "), "--version, daemon-reload, stop offk8s-mirror.service offk8s-mirror.socket, "+
		"enable offk8s-mirror.service offk8s-mirror.socket, start offk8s-mirror.service"; got != want {
		t.Errorf("systemctl: %s, want %s", got, want)
	}
	for _, f := range files {
		if b, err := os.ReadFile(filepath.Join(root, f.path)); err != nil || string(b) != f.text {
			t.Errorf("%s: %q, %v", f.path, b, err)
		}
	}
	version = "systemd 253\n"
	if err := installUnit(t.Context(), root, files, run); err == nil || !strings.Contains(err.Error(), "start offk8s-mirror.service: exit status 1: Job failed") {
		t.Errorf("a unit that does not start: %v", err)
	}
	version, calls = "systemd 219\n", nil
	if err := installUnit(t.Context(), root, files, run); err == nil || len(calls) != 1 {
		t.Errorf("an old systemd: %v, %v", err, calls)
	}
}

func TestNotifySystemd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := notifySystemd(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifySystemd(); err != nil {
		t.Error(err)
	}
}

func TestWatchedFiles(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "b.tar"), filepath.Join(dir, "other")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "one")
	w := watchFiles([]string{file})
	expect := func(step string, want fileState) {
		t.Helper()
		if got := w.look(); got != want {
			t.Errorf("%s: state %d, want %d", step, got, want)
		}
	}
	expect("as opened", unchangedFiles)
	write(other, "two")
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	expect("replaced", changingFiles)
	expect("replaced, second look", settledFiles)
	w.taken()
	expect("taken", unchangedFiles)
	write(file, "longer")
	expect("written to", changingFiles)
	write(file, "longer still")
	expect("still written to", changingFiles)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect("gone", changingFiles)
	expect("still gone", changingFiles)
}
