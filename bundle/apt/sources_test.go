package apt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourcesFromHost(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/apt/sources.list": `# comment
deb http://mirror.example/debian bookworm main contrib # more
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://mirror.example/debian-security/ bookworm-security main
deb cdrom:[Debian]/ bookworm main
deb file:/srv/debian bookworm main
`,
		"etc/apt/sources.list.d/b.sources": `Types: deb deb-src
URIs: http://one.example/ubuntu http://two.example/ubuntu/
Suites: jammy jammy-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: x

Types: deb
URIs: mirror+file:/etc/apt/mirrors/debian.list
Suites: trixie
Components: main
`,
		"etc/apt/sources.list.d/c.sources.disabled": "Types: deb\nURIs: http://off.example/debian\nSuites: x\n",
		"etc/apt/mirrors/debian.list":               "https://cloud.example/debian\nhttps://other.example/debian\n",
	} {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := SourcesFromHost(root)
	if err != nil {
		t.Fatal(err)
	}
	key := "\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"
	want := []HostSource{
		{URL: "http://mirror.example/debian", Suites: []string{"bookworm"}, Components: []string{"main", "contrib"}},
		{URL: "https://mirror.example/debian-security", Suites: []string{"bookworm-security"}, Components: []string{"main"}, SignedBy: "/usr/share/keyrings/x.gpg"},
		{URL: "http://one.example/ubuntu", Suites: []string{"jammy", "jammy-updates"}, Components: []string{"main"}, SignedBy: key[1:]},
		{URL: "http://two.example/ubuntu", Suites: []string{"jammy", "jammy-updates"}, Components: []string{"main"}, SignedBy: key[1:]},
		{URL: "https://cloud.example/debian", Suites: []string{"trixie"}, Components: []string{"main"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("sources (-want +got):\n%s", diff)
	}
	for _, tc := range []struct{ archive, suite, want string }{
		{"debian", "bookworm", "http://mirror.example/debian"},
		{"debian", "bullseye", "http://mirror.example/debian"},
		{"debian-security", "bookworm-security", "https://mirror.example/debian-security"},
		{"debian-security", "bullseye-security", "https://mirror.example/debian-security"},
		{"ubuntu", "jammy-updates", "http://one.example/ubuntu"},
		{"raspbian", "x", ""},
	} {
		if got, ok := ArchiveURL(got, tc.archive, tc.suite, []string{"main"}); got != tc.want || ok != (tc.want != "") {
			t.Errorf("ArchiveURL(%q, %q) = %q, %t; want %q", tc.archive, tc.suite, got, ok, tc.want)
		}
	}
	if _, err := SourcesFromHost(t.TempDir()); err != nil {
		t.Errorf("a machine without apt: %v", err)
	}
}

// Vendors name suites, and the last part of their path, as Debian does.
func TestArchiveURLAmongVendors(t *testing.T) {
	vendor := HostSource{URL: "https://download.example/linux/debian", Suites: []string{"bookworm"}, Components: []string{"stable"}}
	other := HostSource{URL: "https://vendor.example/apt", Suites: []string{"bookworm"}, Components: []string{"main"}}
	cache := HostSource{URL: "https://cache.example/debian-remote", Suites: []string{"bookworm"}, Components: []string{"main"}}
	debian := HostSource{URL: "https://mirror.example/debian", Suites: []string{"bookworm"}, Components: []string{"main", "contrib"}}
	for _, tc := range []struct {
		name    string
		sources []HostSource
		want    string
	}{
		{"vendors first", []HostSource{vendor, other, debian}, debian.URL},
		{"vendors last", []HostSource{debian, other, vendor}, debian.URL},
		{"archive under another name", []HostSource{vendor, cache}, cache.URL},
		{"vendor alone", []HostSource{vendor}, ""},
	} {
		if got, ok := ArchiveURL(tc.sources, "debian", "bookworm", []string{"main"}); got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: %q, %t; want %q", tc.name, got, ok, tc.want)
		}
	}
}

// TestSourcesOfAnotherKind refuses what is no file of sources, without waiting for it.
func TestSourcesOfAnotherKind(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a named pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"has more than": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxSources+1))
		},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, "etc/apt/sources.list.d")
		if err := errors.Join(os.MkdirAll(dir, 0o755), make(filepath.Join(dir, "a.list"))); err != nil {
			t.Fatal(err)
		}
		if _, err := SourcesFromHost(root); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
