package mirror

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/test/testenv"
)

// ctr pulls from the mirror by the original name of an image, with the generated
// hosts.toml. containerd 1.x cannot parse the usual form of an IPv6 literal.
func TestContainerd(t *testing.T) {
	testenv.NeedTool(t, "containerd", "ctr", "curl")
	testenv.NeedRoot(t)
	c := startContainerd(t, noCRI, t.TempDir())
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			b := smallBundle(t)
			l := newLabOn(t, b, addr)
			l.config(t, "/config/hosts.toml", "certs.d/_default/hosts.toml")
			fetch := func(image string) (string, error) { return c.fetch(l, image) }
			if out, err := fetch(bundletest.PauseImage); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if list, err := c.ctr("images", "ls", "-q"); err != nil || !strings.Contains(list, bundletest.PauseImage) {
				t.Errorf("images: %v\n%s", err, list)
			}
			// The answer of the mirror is the error, not an attempt to reach the registry.
			for _, image := range []string{"registry.k8s.io/pause:1.0", "registry.example.com/other:1", "registry.k8s.io/other@" + digest.FromString("other").String()} {
				if out, err := fetch(image); err == nil || !strings.HasSuffix(strings.TrimSpace(out), ": not found") {
					t.Errorf("%s: %v, want \"not found\":\n%s", image, err, out)
				}
			}
			if out, err := c.ctr("images", "rm", "--sync", bundletest.PauseImage); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			for image, altered := range l.alterImages(t, b, "/v2/") {
				if out, err := fetch(image); err == nil || !strings.Contains(out, "expected "+altered) {
					t.Errorf("%s with other bytes of %s: %v\n%s", image, altered, err, out)
				}
			}
		})
	}
}

// The kubelet's way to pull, with hosts.toml and with the settings from before it. It takes the
// platform of the host and nothing of those that the bundle leaves out.
func TestContainerdCRI(t *testing.T) {
	testenv.NeedTool(t, "curl")
	testenv.NeedRoot(t)
	forContainerds(t, func(t *testing.T, version string) {
		t.Run("hosts.toml", func(t *testing.T) {
			b := smallBundle(t)
			l := newLab(t, b)
			l.config(t, "/config/hosts.toml", "certs.d/_default/hosts.toml")
			c := l.criPulls(t, b, "/v2/", criConfig+fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = %q\n", filepath.Join(l.dir, "certs.d")))
			if err := c.pull(t, "registry.k8s.io/pause:1.0"); err == nil || !strings.Contains(err.Error(), "not found") {
				t.Errorf("an image that the bundle lacks: %v", err)
			}
		})
		t.Run("mirrors", func(t *testing.T) {
			b := smallBundle(t)
			l := newLab(t, b)
			text, err := os.ReadFile(l.config(t, "/config/containerd-v1.toml", "containerd.toml"))
			if err != nil {
				t.Fatal(err)
			}
			config := "[plugins.cri.containerd]\nsnapshotter = \"native\"\n" + string(text)
			if !strings.HasPrefix(strings.TrimPrefix(version, "v"), "1.") {
				// They have another name there, and without hosts.toml the CA must be one of the system.
				t.Setenv("SSL_CERT_FILE", l.ca)
				config = "version = 2\n" + strings.ReplaceAll(config, "plugins.cri.", "plugins.\"io.containerd.grpc.v1.cri\".")
			}
			l.criPulls(t, b, "/v2/registry.k8s.io/", config)
		})
	})
}

// forContainerds runs a test with Debian's containerd, and with those of the list
// OFFK8S_TEST_CONTAINERD, directories with other ones (make clients).
func forContainerds(t *testing.T, f func(t *testing.T, version string)) {
	t.Helper()
	testenv.NeedTool(t, "containerd")
	path := os.Getenv("PATH")
	for _, dir := range append([]string{path}, filepath.SplitList(os.Getenv("OFFK8S_TEST_CONTAINERD"))...) {
		t.Setenv("PATH", dir+":"+path)
		version := strings.Fields(runTool(t, nil, "containerd", "--version"))[2]
		t.Run(version, func(t *testing.T) { f(t, version) })
	}
}

// criConfig is a configuration of containerd with CRI; containerd 2 reads version 2 too.
const criConfig = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n"

// criPulls expects that a containerd with config pulls what the bundle has, and nothing with
// other bytes.
func (l *lab) criPulls(t *testing.T, b *bundletest.Builder, prefix, config string) *containerd {
	t.Helper()
	c := startContainerd(t, config, t.TempDir())
	if err := c.pull(t, bundletest.PauseImage); err != nil {
		t.Error(err)
	}
	for image, altered := range l.alterImages(t, b, prefix) {
		if err := c.pull(t, image); err == nil || !strings.Contains(err.Error(), "expected "+altered) {
			t.Errorf("%s with other bytes of %s: %v", image, altered, err)
		}
	}
	return c
}

// pull asks the image service of CRI for an image, in gRPC, as the kubelet does.
func (c *containerd) pull(t *testing.T, image string) error {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.socket)
	}}
	defer transport.CloseIdleConnections()
	field := func(b string) string { return "\x0a" + string(rune(len(b))) + b } // number 1, shorter than 128 bytes
	message := field(field(image))                                              // PullImageRequest.image.image
	head := []byte{0, 0, 0, 0, byte(len(message))}                              // not compressed, and its length
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://containerd/runtime.v1.ImageService/PullImage", strings.NewReader(string(head)+message))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	status := answer.Trailer
	if answer.Header.Get("Grpc-Status") != "" { // an answer without a message has it in front
		status = answer.Header
	}
	if status.Get("Grpc-Status") != "0" {
		return fmt.Errorf("pull %s: status %s: %s", image, status.Get("Grpc-Status"), status.Get("Grpc-Message"))
	}
	return nil
}

// containerd is a daemon that runs until the test ends.
type containerd struct {
	socket string
	ctr    func(args ...string) (string, error) // runs ctr against it
}

// fetch pulls an image for amd64 with the hosts.toml in the directory of l.
func (c *containerd) fetch(l *lab, image string) (string, error) {
	args := []string{"content", "fetch", "--platform", "linux/amd64", "--hosts-dir", filepath.Join(l.dir, "certs.d")}
	if help, err := c.ctr("content", "fetch", "--help"); err == nil && strings.Contains(help, "--skip-metadata") {
		args = append(args, "--skip-metadata") // ctr 2.x also asks for manifests of other platforms
	}
	return c.ctr(append(args, image)...)
}

// noCRI is a configuration of containerd without CRI.
const noCRI = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"

// startContainerd runs a containerd with a configuration. Its files are in dir.
func startContainerd(t *testing.T, text, dir string) *containerd {
	t.Helper()
	config, socket := filepath.Join(dir, "config.toml"), filepath.Join(dir, "s")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "ready"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	daemon := exec.Command("containerd", "--config", config,
		"--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"), "--address", socket)
	daemon.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "ready"))
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	})
	if err := ready.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 100)); err != nil {
		t.Fatalf("containerd is not ready: %v", err)
	}
	return &containerd{socket, func(args ...string) (string, error) {
		return tryTool(t, nil, "ctr", append([]string{"--address", socket, "--connect-timeout", "60s"}, args...)...)
	}}
}
