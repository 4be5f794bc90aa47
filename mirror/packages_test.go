package mirror

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/test/testenv"
)

// vendor makes a signing key and returns the home of gpg that has it, and the
// public key.
func vendor(t *testing.T, name string) (home, public string) {
	t.Helper()
	home = t.TempDir()
	env := []string{"GNUPGHOME=" + home}
	runTool(t, env, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", name, "rsa3072", "sign", "never")
	public = runTool(t, env, "gpg", "--batch", "--armor", "--export", name)
	t.Cleanup(func() { _, _ = tryTool(t, env, "gpgconf", "--kill", "gpg-agent") })
	return home, public
}

// buildRPM makes a package that installs one file, signed by the vendor.
func buildRPM(t *testing.T, home string, tags ...string) []byte {
	t.Helper()
	top := t.TempDir()
	spec := filepath.Join(top, "x.spec")
	text := `Name: offk8s-hello
Version: 1.0
Release: 1
Summary: a test package
License: none
BuildArch: noarch
` + strings.Join(tags, "\n") + `
%description
A test package.
%install
mkdir -p %{buildroot}/opt
echo hello >%{buildroot}/opt/offk8s-hello
%files
/opt/offk8s-hello
`
	if err := os.WriteFile(spec, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	runTool(t, nil, "rpmbuild", "--quiet", "-bb", "--define", "_topdir "+top, "--define", "_dbpath "+filepath.Join(top, "db"), spec)
	path := filepath.Join(top, "RPMS/noarch/offk8s-hello-1.0-1.noarch.rpm")
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatal(err)
	}
	runTool(t, []string{"GNUPGHOME=" + home}, "rpmsign", "--define", "__gpg "+gpg, "--define", "_gpg_name vendor", "--addsign", path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// yumLab serves one signed package in a yum repository whose metadata the
// bundle's key signed. keys are the vendor keys that the Lock names.
func yumLab(t *testing.T, rpm []byte, keys map[string]string) *lab {
	t.Helper()
	b := bundletest.New(t)
	b.AddSmall(t)
	b.Lock.Artifacts, b.Metadata = nil, nil
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	group, path := "yum/rocky-9/"+arch, "Packages/o/offk8s-hello-1.0-1.noarch.rpm"
	b.AddPackage(t, manifests.KindRPM, group, path, rpm)
	meta, err := yum.FromRPM(bytes.NewReader(rpm), int64(len(rpm)), digest.FromBytes(rpm), path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := yum.WriteMetadata([]yum.PackageMeta{meta}, yum.MetadataOptions{Compression: "gz", Created: bundletest.Created})
	if err != nil {
		t.Fatal(err)
	}
	if files[yum.RepomdPath+".asc"], err = trust.SignDetached(b.Key, files[yum.RepomdPath], bundletest.Created); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		b.AddMetadata(group, name, content)
	}
	distro := catalog.Distro{Name: "rocky-9", Family: "redhat", Keys: keys}
	for name := range keys {
		distro.Yum = append(distro.Yum, catalog.YumRepository{ID: "baseos", KeyFiles: []string{name}})
	}
	b.Lock.DistroData = map[string]catalog.Distro{"rocky-9": distro}
	return newLab(t, b)
}

// dnf installs the package into an empty root with the generated .repo file.
func (l *lab) dnf(t *testing.T) (string, error) {
	t.Helper()
	root := t.TempDir()
	repos := filepath.Dir(l.config(t, "/config/rocky-9.repo", "repos.d/offk8s.repo"))
	out, err := tryTool(t, nil, "dnf", "-y", "--noplugins", "--installroot", root, "--releasever", "9",
		"--setopt=reposdir="+repos, "--setopt=cachedir="+filepath.Join(root, "cache"), "--setopt=persistdir="+filepath.Join(root, "persist"),
		"--setopt=logdir="+root, "--setopt=varsdir="+root, "--setopt=retries=1", "install", "offk8s-hello")
	if err == nil {
		if _, err := os.Stat(filepath.Join(root, "opt/offk8s-hello")); err != nil {
			t.Errorf("dnf said that it installed the package: %v", err)
		}
	}
	return out, err
}

func replace(from, to string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(from), []byte(to), 1) }
}

// flip alters one byte and keeps the length.
func flip(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

func TestT36Dnf(t *testing.T) {
	testenv.NeedTool(t, "dnf", "rpmbuild", "rpmsign", "gpg", "curl")
	testenv.NeedRoot(t)
	home, key := vendor(t, "vendor")
	rpm := buildRPM(t, home)
	good := map[string]string{"vendor.asc": key}
	l := yumLab(t, rpm, good)
	if out, err := l.dnf(t); err != nil {
		t.Fatalf("a good repository: %v\n%s", err, out)
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	repo := "/yum/rocky-9/" + arch
	primary := ""
	for path := range l.mirror.routes.paths {
		if strings.HasPrefix(path, repo) && strings.Contains(path, "primary.xml") {
			primary = path
		}
	}
	tests := []struct {
		name, path string
		alter      func([]byte) []byte
		want       string // of what dnf says
	}{
		{"altered repomd.xml", repo + "/repodata/repomd.xml", replace("<revision>", "<revision>1"), "Bad GPG signature"},
		{"no signature of repomd.xml", repo + "/repodata/repomd.xml.asc", func([]byte) []byte { return nil }, "GPG signature verification error"},
		{"altered primary", primary, flip, "checksum doesn't match"},
		{"altered RPM", repo + "/Packages/o/offk8s-hello-1.0-1.noarch.rpm", flip, "checksum doesn't match"},
		{"another key of the bundle", "/offk8s.asc", func([]byte) []byte { return []byte(key) }, "Bad GPG signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := yumLab(t, rpm, good)
			l.alter(tt.path, tt.alter)
			if out, err := l.dnf(t); err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v, want %q:\n%s", err, tt.want, out)
			}
		})
	}
	t.Run("package of another vendor", func(t *testing.T) {
		_, other := vendor(t, "stranger")
		if out, err := yumLab(t, rpm, map[string]string{"vendor.asc": other}).dnf(t); err == nil || !strings.Contains(out, "GPG check FAILED") {
			t.Errorf("%v:\n%s", err, out)
		}
	})
}

// A package of a module stream (EL8) is installed without a description of modules, since
// the .repo file says so.
func TestDnfModularPackage(t *testing.T) {
	testenv.NeedTool(t, "dnf", "rpmbuild", "rpmsign", "gpg", "curl")
	testenv.NeedRoot(t)
	home, key := vendor(t, "vendor")
	rpm := buildRPM(t, home, "ModularityLabel: container-tools:rhel8:8100020240227110532:82888897")
	keys := map[string]string{"vendor.asc": key}
	if out, err := yumLab(t, rpm, keys).dnf(t); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	l := yumLab(t, rpm, keys)
	l.alter("/config/rocky-9.repo", replace("module_hotfixes=1\n", ""))
	if out, err := l.dnf(t); err == nil || !strings.Contains(out, "No available modular metadata") {
		t.Errorf("without module_hotfixes: %v\n%s", err, out)
	}
}

// aptLab serves one package in an apt repository that the bundle's key signed.
func aptLab(t *testing.T) (l *lab, deb string) {
	t.Helper()
	tree := t.TempDir()
	control := "Package: offk8s-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.invalid>\nDescription: a test package\n"
	if err := os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(control), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "hello.deb")
	runTool(t, nil, "dpkg-deb", "--root-owner-group", "--build", tree, file)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	deb = "pool/main/o/offk8s-hello/offk8s-hello_1.0_all.deb"
	arch := strings.TrimSpace(runTool(t, nil, "dpkg", "--print-architecture"))
	packages := fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %x\n", control, deb, len(content), sha256.Sum256(content))
	index := "main/binary-" + arch + "/Packages"
	release := fmt.Sprintf("Origin: offk8s\nSuite: offk8s\nCodename: offk8s\nArchitectures: %s\nComponents: main\nDate: %s\nSHA256:\n %x %d %s\n",
		arch, bundletest.Created.Format("Mon, 02 Jan 2006 15:04:05 UTC"), sha256.Sum256([]byte(packages)), len(packages), index)
	b := bundletest.New(t)
	b.AddSmall(t)
	b.Lock.Artifacts, b.Metadata = nil, nil
	signed, err := trust.ClearSign(b.Key, []byte(release), bundletest.Created)
	if err != nil {
		t.Fatal(err)
	}
	b.AddPackage(t, manifests.KindDeb, bundletest.AptGroup, deb, content)
	b.AddMetadata(bundletest.AptGroup, "dists/offk8s/"+index, []byte(packages))
	b.AddMetadata(bundletest.AptGroup, "dists/offk8s/InRelease", signed)
	return newLab(t, b), deb
}

// apt updates and downloads the package with the generated configuration.
func (l *lab) apt(t *testing.T) (string, error) {
	t.Helper()
	sources := l.config(t, "/config/debian-12.sources", "etc/sources.list.d/offk8s.sources")
	l.config(t, "/config/debian-12.apt.conf", "etc/apt.conf.d/90offk8s")
	l.config(t, "/offk8s.asc", "offk8s.asc")
	state := t.TempDir()
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	etc := filepath.Dir(filepath.Dir(sources))
	env := []string{"APT_CONFIG=" + l.write(t, "apt.conf", fmt.Sprintf(`Dir::Etc %q;
Dir::Etc::Trusted "/dev/null";
Dir::Etc::TrustedParts "/dev/null";
Dir::State %q;
Dir::State::status %q;
Dir::Cache %q;
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "0";
`, etc, filepath.Join(state, "state"), l.write(t, "status", ""), filepath.Join(state, "cache")))}
	// The host's other source cannot be reached.
	l.write(t, "etc/sources.list", "deb http://127.0.0.1:1/debian bookworm main\n")
	out, err := tryTool(t, env, "apt-get", append(strings.Fields(onlyOffk8s), "update")...)
	if err != nil {
		return out, err
	}
	more, err := tryTool(t, env, "apt-get", "install", "-y", "--download-only", "offk8s-hello")
	if err == nil {
		if _, err := os.Stat(filepath.Join(state, "cache/archives/offk8s-hello_1.0_all.deb")); err != nil {
			t.Errorf("apt said that it has the package: %v", err)
		}
	}
	return out + more, err
}

func TestT36Apt(t *testing.T) {
	testenv.NeedTool(t, "apt-get", "dpkg", "dpkg-deb", "gpg", "curl")
	l, deb := aptLab(t)
	if out, err := l.apt(t); err != nil {
		t.Fatalf("a good repository: %v\n%s", err, out)
	}
	arch := strings.TrimSpace(runTool(t, nil, "dpkg", "--print-architecture"))
	_, stranger := vendor(t, "stranger")
	tests := []struct {
		name, path string
		alter      func([]byte) []byte
		want       string // of what apt says
	}{
		{"altered InRelease", "/apt/debian-12/dists/offk8s/InRelease", replace("Origin: offk8s", "Origin: offk9s"), "BADSIG"},
		{"InRelease without signature", "/apt/debian-12/dists/offk8s/InRelease", func(b []byte) []byte {
			_, body, _ := bytes.Cut(b, []byte("\n\n"))
			body, _, _ = bytes.Cut(body, []byte("-----BEGIN PGP SIGNATURE"))
			return body
		}, "is not signed"},
		{"altered Packages", "/apt/debian-12/dists/offk8s/main/binary-" + arch + "/Packages", replace("1.0", "1.1"), "Hash Sum mismatch"},
		{"altered deb", "/apt/debian-12/" + deb, flip, "Hash Sum mismatch"},
		{"another key", "/offk8s.asc", func([]byte) []byte { return []byte(stranger) }, "NO_PUBKEY"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := aptLab(t)
			l.alter(tt.path, tt.alter)
			if out, err := l.apt(t); err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v, want %q:\n%s", err, tt.want, out)
			}
		})
	}
}
