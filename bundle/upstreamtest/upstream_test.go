package upstreamtest_test

import (
	"bytes"
	"debug/elf"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/test/testenv"
)

func start(t *testing.T) *upstreamtest.Upstream {
	t.Helper()
	u, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestCatalogGoesWithTheUpstream(t *testing.T) {
	u := start(t)
	c, err := u.Catalog(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	release, err := c.Release("1.36")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range release.Components {
		for arch, remote := range d.Arches {
			if b, ok := u.File(remote.URL); !ok || len(b) == 0 || remote.Digest == "" {
				t.Errorf("%s for %s: %d bytes, digest %q", d.Name, arch, len(b), remote.Digest)
			}
		}
	}
	if got := release.Images["pause"].Digest; got == "" || got != u.ImageDigest(release.Images["pause"].Ref) {
		t.Errorf("digest of pause %q", got)
	}
}

func TestRewritesLeadHere(t *testing.T) {
	u := start(t)
	var froms []string
	for _, r := range u.Rewrites() {
		froms = append(froms, r.From)
		if !strings.HasPrefix(r.To, u.URL) {
			t.Errorf("rewrite of %q leads to %q", r.From, r.To)
		}
	}
	for _, want := range []string{"https://dl.k8s.io", "registry.k8s.io", "apt:debian", "https://dl.rockylinux.org"} {
		if !strings.Contains(strings.Join(froms, " "), want) {
			t.Errorf("no rewrite of %q in %v", want, froms)
		}
	}
	resp, err := http.Get(u.URL + "/apt/debian/dists/bookworm/InRelease")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); !bytes.HasPrefix(body, []byte("-----BEGIN PGP SIGNED")) {
		t.Errorf("InRelease is %q", body)
	}
}

func TestSameBytesEachTime(t *testing.T) {
	a, b := start(t), start(t)
	for _, dir := range []string{"a", "b"} {
		u := map[string]*upstreamtest.Upstream{"a": a, "b": b}[dir]
		if err := u.WriteCatalog(filepath.Join(t.TempDir(), dir)); err != nil {
			t.Fatal(err)
		}
	}
	for _, url := range []string{
		"apt:debian/dists/bookworm/InRelease",
		"https://dl.rockylinux.org/pub/rocky/9/BaseOS/x86_64/os/repodata/repomd.xml.asc",
	} {
		x, _ := a.File(url)
		y, _ := b.File(url)
		if diff := cmp.Diff(string(x), string(y)); diff != "" || len(x) == 0 {
			t.Errorf("%s (-first +second):\n%s", url, diff)
		}
	}
	cat, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, minor := range []string{"1.16", "1.36"} {
		r, err := cat.Release(minor)
		if err != nil {
			t.Fatal(err)
		}
		if ref := r.Images["pause"].Ref; a.ImageDigest(ref) != b.ImageDigest(ref) {
			t.Errorf("%s differs", ref)
		}
	}
}

func TestSelfBinaryIsStaticAndRuns(t *testing.T) {
	for arch, want := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		f, err := elf.NewFile(bytes.NewReader(upstreamtest.SelfBinary(arch)))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != want {
			t.Errorf("%s: machine %s", arch, f.Machine)
		}
	}
	path := filepath.Join(t.TempDir(), "self")
	if err := os.WriteFile(path, upstreamtest.SelfBinary(runtime.GOARCH), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(path).Run(); err != nil {
		t.Errorf("run: %v", err)
	}
}

// Independent readers: what real tools make of the packages.
func TestRealToolsReadThePackages(t *testing.T) {
	u := start(t)
	dir := t.TempDir()
	save := func(name, url string) string {
		b, ok := u.File(url)
		if !ok {
			t.Fatalf("nothing at %q", url)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("rpm", func(t *testing.T) {
		testenv.NeedTool(t, "rpm")
		path := save("chrony.rpm", "https://dl.rockylinux.org/pub/rocky/9/AppStream/x86_64/os/Packages/chrony-2.0-1.el9.x86_64.rpm")
		out, err := exec.Command("rpm", "-qp", "--nosignature", "--requires", "--list", path).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("made-up-libs\n")) || !bytes.Contains(out, []byte("/usr/share/doc/chrony/made-up\n")) {
			t.Errorf("rpm: %v\n%s", err, out)
		}
		out, err = exec.Command("rpm", "-K", "--nosignature", path).CombinedOutput()
		if err != nil {
			t.Errorf("rpm -K: %v\n%s", err, out)
		}
	})
	t.Run("dpkg-deb", func(t *testing.T) {
		testenv.NeedTool(t, "dpkg-deb")
		path := save("chrony.deb", "apt:debian/pool/main/c/chrony/chrony_2.0-1_amd64.deb")
		out, err := exec.Command("dpkg-deb", "--field", path, "Depends").CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("made-up-libs")) {
			t.Errorf("dpkg-deb: %v\n%s", err, out)
		}
		if out, err := exec.Command("dpkg-deb", "--contents", path).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("usr/share/doc/chrony/made-up")) {
			t.Errorf("dpkg-deb: %v\n%s", err, out)
		}
	})
}
