//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clients: two more hosts use the mirror as any host would, with all it offers
// under /config and nothing switched off: dnf and apt install chrony, curl
// takes ranges, skopeo and ctr pull.
func (r *road) clients(t *testing.T) {
	for _, c := range []struct{ host, addr, os, script string }{
		{"client-1", "10.66.0.21", r.rpm, dnfInstall},
		{"client-2", "10.66.0.22", "debian-12", aptInstall},
	} {
		t.Run(c.os, func(t *testing.T) {
			r.sh(t, "up", c.host, c.addr+"/24", c.os)
			t.Cleanup(func() { r.sh(t, "down", c.host) })
			r.script1(t, c.addr, strings.NewReplacer("MIRROR", mirrorAddr, "DISTRO", c.os, "FINGERPRINT", r.fingerprint).Replace(trustCA+c.script))
		})
	}
	t.Run("curl ranges", r.curlRanges)
	t.Run("skopeo", r.skopeo)
}

// trustCA downloads the mirror's CA without verification and compares its
// fingerprint, which came out of band.
const trustCA = `
set -eu
mkdir -p /etc/offk8s
curl -fsSk https://MIRROR/ca.crt -o /etc/offk8s/ca.crt
got=$(sed '/-----/d' /etc/offk8s/ca.crt | base64 -d | sha256sum | cut -d' ' -f1)
[ "sha256:$got" = "FINGERPRINT" ]
fetch() { curl -fsS --cacert /etc/offk8s/ca.crt "https://MIRROR$1" -o "$2"; }
`

const dnfInstall = `
fetch /config/DISTRO.repo /etc/yum.repos.d/offk8s.repo
grep -q '^gpgcheck=1' /etc/yum.repos.d/offk8s.repo
grep -q '^repo_gpgcheck=1' /etc/yum.repos.d/offk8s.repo
dnf -y --disablerepo='*' --enablerepo='offk8s*' install chrony >&2
rpm -q chrony
command -v chronyd
`

const aptInstall = `
mkdir -p /etc/apt/keyrings /etc/apt/sources.list.d /etc/apt/apt.conf.d
fetch /config/DISTRO.sources /etc/apt/sources.list.d/offk8s.sources
fetch /config/DISTRO.apt.conf /etc/apt/apt.conf.d/90offk8s
fetch /offk8s.asc "$(awk '/^Signed-By:/{print $2}' /etc/apt/sources.list.d/offk8s.sources)"
only="-o Dir::Etc::SourceList=/dev/null"
apt-get $only update >&2
DEBIAN_FRONTEND=noninteractive apt-get $only install -y --no-install-recommends chrony >&2
dpkg -s chrony | grep -q '^Status: install ok installed'
command -v chronyd
`

// script1 runs a shell script on a host, which reads it from stdin.
func (r *road) script1(t *testing.T, addr, script string) string {
	t.Helper()
	argv := r.ssh(addr, "sh")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(script)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", addr, err, out)
	}
	return string(out)
}

// curlRanges joins two ranges of a blob and compares them with the whole.
func (r *road) curlRanges(t *testing.T) {
	ca := filepath.Join(r.work, "dmz", "state", "mirror-ca.crt")
	dir := t.TempDir()
	url := fmt.Sprintf("https://%s/bundle/blobs/%s", mirrorAddr, r.someBlob(t))
	curl := func(args ...string) string {
		return run(t, time.Minute, in("operator", append([]string{"curl", "-fsS", "--cacert", ca}, args...)...)...)
	}
	whole, a, b := filepath.Join(dir, "whole"), filepath.Join(dir, "a"), filepath.Join(dir, "b")
	curl("-o", whole, url)
	curl("-o", a, "-r", "0-999", url)
	curl("-o", b, "-r", "1000-", url)
	joined := run(t, time.Minute, "sh", "-c", `cat "$0" "$1" | cmp - "$2" && echo same`, a, b, whole)
	if strings.TrimSpace(joined) != "same" {
		t.Errorf("two ranges do not make the whole: %s", joined)
	}
	if code := curl("-o", "/dev/null", "-r", "0-999", "-w", "%{http_code}", url); code != "206" {
		t.Errorf("a range answers %s, want 206", code)
	}
}

// someBlob returns "sha256/<hex>" of a large blob of the bundle.
func (r *road) someBlob(t *testing.T) string {
	t.Helper()
	out := run(t, time.Minute, "sh", "-c", `tar -tvf "$0" | sort -k3 -n | tail -1 | awk '{print $NF}'`, r.bundle)
	return strings.TrimPrefix(strings.TrimSpace(out), "blobs/")
}

func (r *road) skopeo(t *testing.T) {
	certs := t.TempDir()
	run(t, time.Minute, "cp", filepath.Join(r.work, "dmz", "state", "mirror-ca.crt"), filepath.Join(certs, "ca.crt"))
	run(t, time.Minute, in("operator", "skopeo", "copy", "--quiet", "--src-cert-dir", certs,
		"docker://"+mirrorAddr+"/"+r.pause(t), "dir:"+filepath.Join(t.TempDir(), "pause"))...)
}
