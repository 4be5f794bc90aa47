package mirror

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/test/testenv"
)

// docker pulls images of Docker Hub by their names through the mirror, and all images by
// the name of the mirror before theirs.
func TestDocker(t *testing.T) {
	testenv.NeedTool(t, "dockerd", "docker", "containerd", "ctr", "curl", "unshare", "mount")
	testenv.NeedRoot(t)
	const hub = "docker.io/library/shell:1"
	b := smallBundle(t)
	b.AddImage(t, hub, "amd64")
	// docker 20.10 does not verify the certificate of a registry on 127.0.0.0/8, so the
	// mirror is on ::1. A name takes its place, because names of images hold no IPv6.
	l := newLabOn(t, b, "[::1]:0")
	l.url = strings.Replace(l.url, "[::1]", "localhost", 1)
	host := strings.TrimPrefix(l.url, "https://")
	docker := startDocker(t, l)

	if out, err := docker("pull", host+"/"+bundletest.PauseImage); err == nil || !strings.Contains(out, "x509: certificate signed by unknown authority") {
		t.Errorf("without the mirror's CA: %v\n%s", err, out)
	}
	ca, err := os.ReadFile(l.ca)
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, "etc/docker/certs.d/"+host+"/ca.crt", string(ca))
	names := []string{strings.TrimPrefix(hub, "docker.io/library/"), host + "/" + bundletest.PauseImage, host + "/" + hub}
	for _, image := range names {
		if out, err := docker("pull", image); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if out, err := docker("images", "--format", "{{.Repository}}:{{.Tag}}"); err != nil || len(strings.Fields(out)) != len(names) {
		t.Errorf("images: %v\n%s", err, out)
	}
	for image, altered := range l.alterImages(t, b, "/v2/registry.k8s.io/") {
		if out, err := docker("pull", host+"/"+image); err == nil || !strings.Contains(out, "verification failed for digest "+altered) {
			t.Errorf("%s with other bytes of %s: %v\n%s", image, altered, err, out)
		}
	}
	l.lock(t)
	if out, err := docker("pull", names[1]); err == nil || !strings.Contains(out, "no basic auth credentials") {
		t.Errorf("without the password: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"login", "--username", testUser, "--password", testPassword, host}, {"pull", names[1]}} {
		if out, err := docker(args...); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// startDocker runs a docker with the generated daemon.json until the test ends. Its /etc
// is a directory of l and its network the loopback of this machine. It returns a function
// that runs the client.
func startDocker(t *testing.T, l *lab) func(args ...string) (string, error) {
	t.Helper()
	for name, text := range map[string]string{
		"hosts": "::1 localhost\n", "nsswitch.conf": "hosts: files\n", "resolv.conf": "", "group": "root:x:0:\n", "passwd": "root:x:0:0::/:/bin/sh\n",
	} {
		l.write(t, "etc/"+name, text)
	}
	config := l.config(t, "/config/docker-daemon.json", "etc/docker/daemon.json")
	dir := func(name string) string { return filepath.Join(l.dir, name) }
	if err := os.Mkdir(dir("containerd"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := startContainerd(t, noCRI, dir("containerd"))
	output, err := os.Create(dir("dockerd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	daemon := exec.Command("unshare", "--mount", "sh", "-ec", `mount --bind "$1" /etc; shift; exec dockerd "$@"`, "sh", dir("etc"),
		"--config-file", config, "--data-root", dir("data"), "--exec-root", dir("exec"), "--pidfile", dir("docker.pid"), "--host", "unix://"+dir("d"),
		"--containerd", c.socket, "--storage-driver", "vfs", "--bridge=none", "--iptables=false", "--ip-forward=false", "--max-download-attempts=1")
	daemon.Stdout, daemon.Stderr = output, output
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = daemon.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = daemon.Process.Kill()
			<-ended
		}
	})
	docker := func(args ...string) (string, error) {
		return tryTool(t, []string{"DOCKER_HOST=unix://" + dir("d"), "DOCKER_CONFIG=" + dir("client")}, "docker", args...)
	}
	deadline := time.After(time.Minute)
	for {
		if _, err := docker("version"); err == nil {
			return docker
		}
		select {
		case <-time.After(50 * time.Millisecond):
			continue
		case <-ended:
		case <-deadline:
		}
		text, _ := os.ReadFile(output.Name())
		t.Fatalf("docker does not start:\n%s", text)
	}
}
