//go:build e2e

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Addresses in the DMZ's namespace: the registry that replicas stand on, the second replica,
// and a mirror of the tarball to compare with.
const (
	registryAddr = "127.0.0.1:5000"
	secondAddr   = "10.66.0.3:8444"
	tarballAddr  = "10.66.0.3:8445"
)

// mirrors returns the line of cluster.yaml that names the mirrors.
func (r *road) mirrors() string {
	if r.plan.replicas {
		return fmt.Sprintf("urls: [https://%s, https://%s]", mirrorAddr, secondAddr)
	}
	return "url: https://" + mirrorAddr
}

// serveReplicas pushes the bundle into Debian's docker-registry and starts two mirrors on
// it. They share a CA, as docs/serve.md says.
func (r *road) serveReplicas(t *testing.T) {
	r.startRegistry(t)
	argv := in("dmz", r.bin, "push", "--key", r.pub(), r.bundle, registryAddr+"/site")
	run(t, 10*time.Minute, argv...)
	r.mirror, r.fingerprint = r.startReplica(t, "first", mirrorAddr)
	run(t, time.Minute, "cp", "-r", r.dmz("state"), r.dmz("state-second"))
	second, fingerprint := r.startReplica(t, "second", secondAddr)
	r.servers = append(r.servers, second)
	if fingerprint != r.fingerprint {
		t.Errorf("the replicas have CAs of their own: %s and %s", r.fingerprint, fingerprint)
	}
}

// startReplica starts a mirror on the registry. Its cache is empty.
func (r *road) startReplica(t *testing.T, name, addr string) (cmd *exec.Cmd, fingerprint string) {
	t.Helper()
	state := map[string]string{mirrorAddr: "state", secondAddr: "state-second"}[addr]
	return r.startMirror(t, "serve-"+name, addr, "--state", r.dmz(state), "--cache", r.dmz("cache-"+name),
		"--access-log", r.dmz("access-"+name+".json"), "--from", "oci://"+registryAddr+"/site")
}

// dmz is a file on the mirrors' machine.
func (r *road) dmz(name string) string { return filepath.Join(r.work, "dmz", name) }

func (r *road) startRegistry(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Fatal("this line needs Debian's docker-registry: apt-get install docker-registry")
	}
	config := r.dmz("registry.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		r.dmz("registry"), registryAddr), 0o600))
	argv := in("dmz", "docker-registry", "serve", config)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	r.servers = append([]*exec.Cmd{cmd}, r.servers...)
	eventually(t, time.Minute, "the registry answers", func() error {
		_, err := try(t, 10*time.Second, in("dmz", "curl", "-fsS", "http://"+registryAddr+"/v2/")...)
		return err
	})
}

// killedReplica kills the mirror that all hosts use, in the middle of an install; the install
// goes on with the other one.
func (r *road) killedReplica(t *testing.T) {
	var before int
	err := r.atControlPlane(t, func(*exec.Cmd) {
		before = len(r.served(t, "second"))
		must(t, r.mirror.Process.Kill())
		_ = r.mirror.Wait() // it was killed
		r.mirror = nil
	})
	if err != nil {
		t.Fatalf("install without its first mirror: %v", err)
	}
	if after := len(r.served(t, "second")); after <= before {
		t.Errorf("the second mirror answered %d requests before the first was killed and %d in all: nobody used it", before, after)
	}
}

// served returns the lines of a replica's access log that tell of bytes sent.
func (r *road) served(t *testing.T, name string) []string {
	t.Helper()
	log, err := os.ReadFile(r.dmz("access-" + name + ".json"))
	must(t, err)
	var sent []string
	for l := range strings.Lines(string(log)) {
		if strings.Contains(l, `"status":200`) || strings.Contains(l, `"status":206`) {
			sent = append(sent, l)
		}
	}
	return sent
}

// registryAway: without its registry, a mirror with an empty cache answers 503 or the right
// bytes and nothing else. When the registry is back, it serves every file that a mirror of
// the tarball serves, byte for byte.
func (r *road) registryAway(t *testing.T) {
	tarball, _ := r.startMirror(t, "serve-tarball", tarballAddr, "--state", r.dmz("state"), r.bundle)
	r.servers = append(r.servers, tarball)
	registry, second := r.servers[0], r.servers[1]
	end(second)
	r.servers[1], _ = r.startReplica(t, "second", secondAddr)
	want := r.sums(t, tarballAddr)
	end(registry)
	r.servers = r.servers[1:]
	missing := ""
	for path, code := range r.fetch(t, secondAddr, want) {
		switch code {
		case "200":
		case "503":
			missing = path
		default:
			t.Errorf("without the registry %s answers %s, want 200 or 503", path, code)
		}
	}
	if missing == "" {
		t.Fatal("without the registry and with an empty cache every file was there: the registry was not needed")
	}
	text := run(t, time.Minute, r.curl(address(secondAddr, missing))...)
	if !strings.Contains(text, "registry") {
		t.Errorf("without the registry %s says %q, which does not name the registry", missing, text)
	}

	r.startRegistry(t)
	eventually(t, time.Minute, "the mirror is right again", func() error {
		for path, code := range r.fetch(t, secondAddr, want) {
			if code != "200" {
				return fmt.Errorf("%s answers %s", path, code)
			}
		}
		return nil
	})
	if got := r.sums(t, secondAddr); len(got) != len(want) {
		t.Errorf("the replica lists %d files, the mirror of the tarball %d", len(got), len(want))
	}
	certs, dirs := t.TempDir(), t.TempDir()
	run(t, time.Minute, "cp", r.dmz("state/mirror-ca.crt"), filepath.Join(certs, "ca.crt"))
	for _, addr := range []string{tarballAddr, secondAddr} {
		run(t, time.Minute, in("operator", "skopeo", "copy", "--quiet", "--src-cert-dir", certs,
			"docker://"+addr+"/"+r.pause(t), "dir:"+filepath.Join(dirs, addr))...)
	}
	run(t, time.Minute, "diff", "-r", filepath.Join(dirs, tarballAddr), filepath.Join(dirs, secondAddr))
	r.mirror, _ = r.startReplica(t, "first", mirrorAddr)
}

// address returns the URL of a mirror's file.
func address(addr, path string) string {
	return (&url.URL{Scheme: "https", Host: addr, Path: "/" + path}).String()
}

// curl is the argv of an operator's curl, which trusts the mirrors' CA.
func (r *road) curl(args ...string) []string {
	return in("operator", append([]string{"curl", "-sS", "--cacert", r.dmz("state/mirror-ca.crt")}, args...)...)
}

// sums returns the digest of every file, package and index of packages that a mirror serves,
// by path.
func (r *road) sums(t *testing.T, addr string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for _, tree := range []string{"files", "yum", "apt"} {
		out := run(t, time.Minute, r.curl("-f", address(addr, tree+"/SHA256SUMS"))...)
		for l := range strings.Lines(out) {
			sum, path, ok := strings.Cut(strings.TrimSpace(l), "  ")
			if !ok {
				t.Fatalf("%s/SHA256SUMS: no digest and path in %q", tree, l)
			}
			sums[tree+"/"+path] = sum
		}
	}
	if len(sums) < 10 {
		t.Fatalf("%s lists %d files", addr, len(sums))
	}
	return sums
}

// fetch asks a mirror for all files, compares those that it sends with their digests, and
// returns the status of each.
func (r *road) fetch(t *testing.T, addr string, sums map[string]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	var config, check strings.Builder
	for path := range sums {
		fmt.Fprintf(&config, "url = \"%s\"\noutput = \"%s\"\n", address(addr, path), filepath.Join(dir, path))
	}
	file := filepath.Join(dir, "curl")
	must(t, os.WriteFile(file, []byte(config.String()), 0o600))
	out := run(t, 5*time.Minute, r.curl("--create-dirs", "-w", "%{http_code} %{filename_effective}\n", "-K", file)...)
	codes := map[string]string{}
	for l := range strings.Lines(out) {
		code, file, _ := strings.Cut(strings.TrimSpace(l), " ")
		path := strings.TrimPrefix(file, dir+"/")
		codes[path] = code
		if code == "200" {
			fmt.Fprintf(&check, "%s  %s\n", sums[path], path)
		}
	}
	if len(codes) != len(sums) {
		t.Fatalf("%d answers for %d files", len(codes), len(sums))
	}
	must(t, os.WriteFile(filepath.Join(dir, "sums"), []byte(check.String()), 0o600))
	run(t, 5*time.Minute, "sh", "-c", `cd "$0" && { [ ! -s sums ] || sha256sum --quiet -c sums; }`, dir)
	return codes
}
