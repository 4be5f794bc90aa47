package bundle_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
)

const appstream = "https://dl.rockylinux.org/pub/rocky/9/AppStream/x86_64/os/"

// editPackage changes the entry of one package in primary of AppStream.
func editPackage(t *testing.T, up *upstreamtest.Upstream, base, name, old, replacement string) {
	t.Helper()
	err := up.EditYum(base, "primary", func(primary string) string {
		head, rest, _ := strings.Cut(primary, "<name>"+name+"</name>")
		changed := strings.Replace(rest, old, replacement, 1)
		if changed == rest {
			t.Fatalf("%s: %q is not in primary", name, old)
		}
		return head + "<name>" + name + "</name>" + changed
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A package that is elsewhere is fetched there, with the keys of its repository,
// when it is packed and when its Lock is packed again.
func TestPackXMLBase(t *testing.T) {
	up := startUpstream(t)
	const elsewhere, location = "https://github.example.com/r/download/", "Packages/chrony-2.0-1.el9.x86_64.rpm"
	content, ok := up.File(appstream + location)
	if !ok {
		t.Fatal("no chrony")
	}
	up.Replace(elsewhere+location, content)
	editPackage(t, up, appstream, "chrony", "<location ", `<location xml:base="`+elsewhere+`" `)
	p := newPacker(t, up)
	l := p.mustResolve(wanted("rocky-9"))
	source := find(t, l, "chrony", "linux/amd64").Source
	if source.URL != elsewhere+location || source.Repository != "rocky9-appstream" {
		t.Errorf("source %+v", source)
	}
	p.pack(l, "b.tar")
	if other := find(t, l, "socat", "linux/amd64").Source; other.Repository != "" {
		t.Errorf("source of a package in its repository: %+v", other)
	}
}

func TestResolveSkipsUnusablePackages(t *testing.T) {
	up := startUpstream(t)
	base := strings.Replace(appstream, "AppStream", "BaseOS", 1)
	editPackage(t, up, base, "unwanted", `href="Packages/unwanted-1.0`, `href="Packages/unwanted-1:1.0`)
	p := newPacker(t, up)
	var log strings.Builder
	l, err := p.resolve(wanted("rocky-9"), func(o *bundle.ResolveOptions) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	if err != nil {
		t.Fatal(err)
	}
	find(t, l, "chrony", "linux/amd64")
	if !strings.Contains(log.String(), "unwanted-1:1.0") || !strings.Contains(log.String(), "level=DEBUG") {
		t.Errorf("log does not mention the package: %s", log.String())
	}
	editPackage(t, up, base, "made-up-data", `href="`, `href="/`)
	_, err = p.resolve(wanted("rocky-9"))
	if !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), `"made-up-data", required by "made-up-libs-1.0-1.el9.x86_64"`) ||
		!strings.Contains(err.Error(), "is not a plain path") {
		t.Errorf("needed package that is unusable: %v", err)
	}
}

// Ubuntu has its architectures in different archives, openEuler a dot in its major version.
func TestResolveArchivesByArchitecture(t *testing.T) {
	m := wanted("ubuntu-24.04", "openeuler-22.03")
	m.Arches = []string{"amd64", "arm64"}
	l := newPacker(t, startUpstream(t)).mustResolve(m)
	var got []string
	for _, a := range l.Artifacts {
		if a.Name == "haproxy" {
			from, _, _ := strings.Cut(a.Source.URL, "/pool/")
			from, _, _ = strings.Cut(from, "/Packages/")
			got = append(got, a.Platform+" "+a.Group+" "+from)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"linux/amd64 apt/ubuntu-24.04 apt:ubuntu",
		"linux/amd64 yum/openeuler-22.03/x86_64 https://repo.openeuler.org/openEuler-22.03-LTS-SP4/update/x86_64",
		"linux/arm64 apt/ubuntu-24.04 apt:ubuntu-ports",
		"linux/arm64 yum/openeuler-22.03/aarch64 https://repo.openeuler.org/openEuler-22.03-LTS-SP4/update/aarch64",
	}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Altered metadata is an attack or a broken mirror; a network that fails is neither.
func TestAlteredMetadataIsOfClassVerify(t *testing.T) {
	text := func(s string) func(http.ResponseWriter) { return func(w http.ResponseWriter) { fmt.Fprint(w, s) } }
	status := func(code int) func(http.ResponseWriter) { return func(w http.ResponseWriter) { w.WriteHeader(code) } }
	for _, tt := range []struct {
		name, path string
		answer     func(http.ResponseWriter)
		altered    bool
	}{
		{"other primary", "-primary.xml.gz", text("<metadata/>"), true},
		{"repomd with a DOCTYPE", "/repomd.xml", text(`<!DOCTYPE m SYSTEM "file:///etc/passwd"><repomd/>`), true},
		{"login page as repomd", "/repomd.xml", text("<html>"), true},
		{"other signature", "/repomd.xml.asc", text("x"), true},
		{"endless repomd", "/repomd.xml", text(strings.Repeat("x", 5<<20)), true},
		{"other Packages", "/Packages.gz", text("x"), true},
		{"unsigned InRelease", "/InRelease", text("Suite: bookworm\n"), true},
		{"missing repomd", "/repomd.xml", status(http.StatusNotFound), false},
		{"missing primary", "-primary.xml.gz", status(http.StatusNotFound), false},
		{"broken server", "/InRelease", status(http.StatusBadGateway), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := startUpstream(t)
			up.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, tt.path) {
					return false
				}
				tt.answer(w)
				return true
			})
			_, err := newPacker(t, up).resolve(wanted("debian-12", "rocky-9"))
			if err == nil || errors.Is(err, bundle.ErrVerify) != tt.altered {
				t.Fatalf("error %v, of class ErrVerify: %t, want %t", err, !tt.altered, tt.altered)
			}
		})
	}
}
