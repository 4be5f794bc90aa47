package yum

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// dnf runs dnf with one repository, both signature checks on, and nothing of
// the machine's own configuration.
func dnf(t testing.TB, url string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "dnf.conf"), []byte("[main]\nreposdir=/dev/null\ncachedir="+dir+"/cache\nkeepcache=0\nplugins=1\n"+
		"gpgcheck=1\nrepo_gpgcheck=1\ninstall_weak_deps=0\nretries=1\n[our]\nname=our\nbaseurl="+url+"\nenabled=1\n"+
		"gpgkey="+url+"/offk8s.asc "+url+"/key.asc\n"))
	base := []string{"-y", "-q", "-c", filepath.Join(dir, "dnf.conf"), "--installroot", filepath.Join(dir, "root"), "--releasever=9", "--forcearch=x86_64"}
	return tryCommand(t, dir, "dnf", append(base, args...)...)
}

// clientRepo writes a signed repository with the two fixture packages.
func clientRepo(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	keys, _ := metadatatest.Key(t)
	writeRepo(t, dir, []string{"v4.rpm", "sub.rpm"}, MetadataOptions{Compression: "gz", Created: metadatatest.Created})
	putFile(t, filepath.Join(dir, RepomdPath+".asc"), sign(t, keys, readOf(t, filepath.Join(dir, RepomdPath))))
	putFile(t, filepath.Join(dir, "offk8s.asc"), keys.OpenPGPPublic)
	putFile(t, filepath.Join(dir, "key.asc"), readFixture(t, "key.asc"))
	return dir
}

func serveDir(t testing.TB, dir string) string {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL
}

func TestDnfAcceptsOurRepository(t *testing.T) {
	testenv.NeedTool(t, "dnf", "rpm", "gpg")
	testenv.NeedRoot(t)
	dir := clientRepo(t)
	url := serveDir(t, dir)
	out, err := dnf(t, url, "repoquery", "--requires", "offk8s-fixture-sub")
	if err != nil || !strings.Contains(out, "offk8s-fixture = 2:1.5~rc1-3.v4") {
		t.Fatalf("repoquery: %v\n%s", err, out)
	}
	out, err = dnf(t, url, "repoquery", "--list", "offk8s-fixture")
	if err != nil || !strings.Contains(out, "/etc/fixture.d/a & b.conf") {
		t.Fatalf("repoquery --list: %v\n%s", err, out)
	}

	changed := filepath.Join(dir, "repodata", "repomd.xml")
	b, err := os.ReadFile(changed)
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, changed, bytes.Replace(b, []byte("<revision>"), []byte("<revision>1"), 1))
	if out, err := dnf(t, url, "repoquery", "offk8s-fixture"); err == nil && strings.Contains(out, "offk8s-fixture") {
		t.Errorf("changed repomd.xml accepted:\n%s", out)
	}
	putFile(t, changed, b)
	if err := os.Remove(changed + ".asc"); err != nil {
		t.Fatal(err)
	}
	if out, err := dnf(t, url, "repoquery", "offk8s-fixture"); err == nil && strings.Contains(out, "offk8s-fixture") {
		t.Errorf("unsigned repomd.xml accepted:\n%s", out)
	}
}
