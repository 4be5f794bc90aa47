package mirror

import (
	"fmt"
	"net"
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
	c := startContainerd(t, "", t.TempDir())
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			b := bundletest.New(t)
			b.AddSmall(t)
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
			layer := layerOf(t, b, bundletest.CoreDNSImage)
			l.alter("/v2/coredns/blobs/"+layer.String(), flip)
			if out, err := fetch(bundletest.CoreDNSImage); err == nil || !strings.Contains(out, "expected "+layer.String()) {
				t.Errorf("an altered layer: %v\n%s", err, out)
			}
		})
	}
}

// The kubelet's way to pull takes the platform of the host and nothing of those that
// the bundle leaves out. OFFK8S_TEST_CRI is a list of directories with a containerd and
// crictl: Debian has no crictl, and its containerd is 1.6.
func TestContainerdCRI(t *testing.T) {
	programs := os.Getenv("OFFK8S_TEST_CRI")
	if programs == "" {
		t.Skip("OFFK8S_TEST_CRI is not set")
	}
	testenv.NeedRoot(t)
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	b := bundletest.New(t)
	b.AddSmall(t)
	l := newLab(t, b)
	l.config(t, "/config/hosts.toml", "certs.d/_default/hosts.toml")
	c := startContainerd(t, filepath.Join(l.dir, "certs.d"), t.TempDir())
	pull := func(image string) (string, error) {
		return tryTool(t, nil, "crictl", "--timeout", "60s", "--runtime-endpoint", "unix://"+c.socket, "--image-endpoint", "unix://"+c.socket, "pull", image)
	}
	if out, err := pull(bundletest.PauseImage); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	layer := layerOf(t, b, bundletest.CoreDNSImage)
	l.alter("/v2/coredns/blobs/"+layer.String(), flip)
	if out, err := pull(bundletest.CoreDNSImage); err == nil || !strings.Contains(out, "expected "+layer.String()) {
		t.Errorf("an altered layer: %v\n%s", err, out)
	}
	if out, err := pull("registry.k8s.io/pause:1.0"); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("an image that the bundle lacks: %v\n%s", err, out)
	}
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

// startContainerd runs a containerd with CRI if certs, the directory of its hosts.toml,
// is not "". Its files are in dir.
func startContainerd(t *testing.T, certs, dir string) *containerd {
	t.Helper()
	config, socket := filepath.Join(dir, "config.toml"), filepath.Join(dir, "s")
	// containerd 2.x reads version 2 too.
	text := "version = 2\n"
	if certs == "" {
		text += "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
	} else {
		text += fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n"+
			"[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = %q\n", certs)
	}
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

// layerOf returns the layer of an image of b for amd64.
func layerOf(t *testing.T, b *bundletest.Builder, image string) digest.Digest {
	t.Helper()
	s := &sample{Bundle: openBundle(t, b)}
	for _, i := range s.Images() {
		if i.Name != image {
			continue
		}
		var m struct {
			Manifests []struct{ Digest digest.Digest }
			Layers    []struct{ Digest digest.Digest }
		}
		s.decode(t, i.Descriptor.Digest, &m)
		if len(m.Manifests) > 0 {
			s.decode(t, m.Manifests[0].Digest, &m)
		}
		return m.Layers[0].Digest
	}
	t.Fatalf("%s is not in the bundle", image)
	return ""
}
