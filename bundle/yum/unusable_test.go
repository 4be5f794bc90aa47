package yum

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/metadata"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// editPrimary returns the repository after a change of the package "odd" in primary.
func editPrimary(t *testing.T, f metadatatest.Files, old, replacement string) metadatatest.Files {
	t.Helper()
	out := map[string][]byte{}
	for name, b := range f {
		for _, kind := range []string{kindPrimary, kindFilelists} {
			if !strings.Contains(name, kind) {
				continue
			}
			zr, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if out[kind], err = io.ReadAll(zr); err != nil {
				t.Fatal(err)
			}
		}
	}
	head, odd, ok := strings.Cut(string(out[kindPrimary]), "<name>odd</name>")
	odd = "<name>odd</name>" + odd
	changed := strings.Replace(odd, old, replacement, 1)
	if !ok || changed == odd {
		t.Fatalf("%q is not in primary", old)
	}
	out[kindPrimary] = []byte(head + changed)
	return repodata(t, out)
}

// oddities are changes of one entry of primary that make it unusable, and the reason.
var oddities = []struct{ name, old, replacement, reason string }{
	{"traversal", `href="Packages/o/odd`, `href="../../etc/odd`, "is not a plain path"},
	{"absolute path", `href="Packages`, `href="/Packages`, "is not a plain path"},
	{"URL", `href="Packages`, `href="https://evil.test/Packages`, "is not a plain path"},
	{"encoded traversal", `href="Packages`, `href="%2e%2e`, "is not a plain path"},
	{"query", `.rpm"`, `.rpm?x=.rpm"`, "is not a plain path"},
	{"colon", `odd-1-1.noarch.rpm"`, `odd-1:1-1.noarch.rpm"`, "is not a plain path"},
	{"blank", `odd-1-1.noarch.rpm"`, `odd 1-1.noarch.rpm"`, "is not a plain path"},
	{"no location", `href=`, `ref=`, `location "" is not a plain path`},
	{"no rpm", `.rpm"`, `.exe"`, "is no .rpm"},
	{"relative base", `<location `, `<location xml:base="../other" `, "is not an absolute URL"},
	{"base of a disc", `<location `, `<location xml:base="media://1234.56#1" `, "want no name, password, query or fragment"},
	{"base of another scheme", `<location `, `<location xml:base="ftp://mirror.test/" `, "want https"},
	{"base leaves TLS", `<location `, `<location xml:base="http://mirror.test/" `, "want https"},
	{"base with a password", `<location `, `<location xml:base="https://me:secret@mirror.test/" `, "https://me:xxxxx@mirror.test/"},
	{"base with a query", `<location `, `<location xml:base="https://mirror.test/?a=b" `, "query"},
	{"base with a traversal", `<location `, `<location xml:base="https://mirror.test/a/../b" `, "is not a plain path"},
	{"base with an encoded traversal", `<location `, `<location xml:base="https://mirror.test/%2e%2e/b" `, "is not a plain path"},
	{"SHA-1", `type="sha256"`, `type="sha"`, `checksum type "sha"`},
	{"short checksum", `pkgid="YES">`, `pkgid="YES">00`, "checksum"},
	{"no size", `package="1"`, `package="0"`, `size "0"`},
	{"size in words", `package="1"`, `package="many"`, `size "many"`},
	{"epoch in words", `epoch="0" ver`, `epoch="zero" ver`, `epoch "zero"`},
	{"no version", `ver="1" rel="1"/>`, `ver="" rel="1"/>`, `version ""`},
	{"dash in the release", `rel="1"/>`, `rel="1-2"/>`, "has a dash"},
	{"unknown flags", `flags="EQ"`, `flags="ABOUT"`, `flags "ABOUT"`},
}

func TestUnusablePackage(t *testing.T) {
	f := makeRepo(t,
		pkg{nevra: "good-1-1.noarch", requires: []string{"liba"}},
		pkg{nevra: "a-1-1.noarch", provides: []string{"liba"}},
		pkg{nevra: "needs-provided-1-1.noarch", requires: []string{"virtual"}},
		pkg{nevra: "needs-file-1-1.noarch", requires: []string{"/usr/bin/odd"}},
		pkg{nevra: "needs-listed-file-1-1.noarch", requires: []string{"/usr/share/odd"}},
		pkg{nevra: "needs-rich-1-1.noarch", requires: []string{"(virtual and liba)"}},
		pkg{nevra: "odd-1-1.noarch", provides: []string{"virtual"}, files: []string{"/usr/bin/odd"}, more: []string{"/usr/share/odd"}},
	)
	for _, tc := range oddities {
		t.Run(tc.name, func(t *testing.T) {
			r, err := ReadRepo(t.Context(), editPrimary(t, f, tc.old, tc.replacement), source(), "x86_64", nil)
			if err != nil {
				t.Fatal(err)
			}
			odd := r.Packages[len(r.Packages)-1]
			if odd.Unusable == nil || !strings.Contains(odd.Unusable.Error(), tc.reason) {
				t.Fatalf("reason %v, want %q", odd.Unusable, tc.reason)
			}
			if _, err := Closure(t.Context(), []*Repo{r}, []string{"good"}, ClosureOptions{}); err != nil {
				t.Fatalf("a package that does not need it: %v", err)
			}
			wanted := []string{"odd", "needs-provided", "needs-file", "needs-rich"}
			if tc.name != "short checksum" { // filelists name a package by its checksum
				wanted = append(wanted, "needs-listed-file")
			}
			for _, name := range wanted {
				_, err := Closure(t.Context(), []*Repo{r}, []string{name}, ClosureOptions{})
				if err == nil || !strings.Contains(err.Error(), tc.reason) || !strings.Contains(err.Error(), `yum repository "test"`) || !errors.Is(err, metadata.ErrAltered) {
					t.Errorf("%s: error %v, want %q", name, err, tc.reason)
				}
			}
		})
	}
}

// Another version or another provider takes the place of an unusable package.
func TestUnusablePackageIsReplaced(t *testing.T) {
	f := makeRepo(t,
		pkg{nevra: "a-1-1.noarch", requires: []string{"virtual", "/usr/bin/odd"}},
		pkg{nevra: "zzz-1-1.noarch", provides: []string{"virtual"}, more: []string{"/usr/bin/odd"}},
		pkg{nevra: "odd-1-1.noarch", provides: []string{"virtual"}, files: []string{"/usr/bin/odd"}},
	)
	r, err := ReadRepo(t.Context(), editPrimary(t, f, `href="`, `href="../`), source(), "x86_64", nil)
	if err != nil {
		t.Fatal(err)
	}
	packages, err := Closure(t.Context(), []*Repo{r}, []string{"a"}, ClosureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != 2 || packages[1].Name != "zzz" {
		t.Fatalf("packages %v, want a and zzz", packages)
	}
}

func TestXMLBase(t *testing.T) {
	f := makeRepo(t, pkg{nevra: "odd-1-1.noarch"})
	const path = "/Packages/o/odd-1-1.noarch.rpm"
	for base, want := range map[string]string{
		"https://github.test/r/download/": "https://github.test/r/download" + path,
		"https://github.test":             "https://github.test" + path,
		"https://[fd00::5]:8443/a%2Bb/":   "https://[fd00::5]:8443/a%2Bb" + path,
		metadatatest.Base + "/":           metadatatest.Base + path,
	} {
		r, err := ReadRepo(t.Context(), editPrimary(t, f, `<location `, `<location xml:base="`+base+`" `), source(), "x86_64", nil)
		if err != nil {
			t.Fatal(err)
		}
		p := r.Packages[0]
		if p.Unusable != nil || p.URL != want || p.Elsewhere != (base != metadatatest.Base+"/") {
			t.Errorf("base %q: URL %q, elsewhere %t, unusable %v; want %q", base, p.URL, p.Elsewhere, p.Unusable, want)
		}
	}
	if got, err := otherBase("http://other.test/", "http://mirror.test/r"); err != nil || got != "http://other.test" {
		t.Errorf("plain http from plain http: %q, %v", got, err)
	}
}

func TestRepositoriesWithoutFilelists(t *testing.T) {
	without := func(id string, packages ...pkg) *Repo {
		r := repoOf(t, id, 0, packages...)
		r.md.Data = r.md.Data[:1]
		return r
	}
	needs := pkg{nevra: "good-1-1.noarch", requires: []string{"/usr/share/x"}}
	extra, other := without("extra", needs), without("other")
	base := repoOf(t, "base", 0, pkg{nevra: "x-1-1.noarch", more: []string{"/usr/share/x"}})
	empty := repoOf(t, "empty", 0)
	for name, repos := range map[string][]*Repo{"first": {extra, base}, "last": {base, extra}, "two": {extra, base, other}} {
		packages, err := Closure(t.Context(), repos, []string{"good"}, ClosureOptions{})
		if err != nil || len(packages) != 2 {
			t.Errorf("repository without filelists %s: %v, %v", name, packages, err)
		}
	}
	_, err := Closure(t.Context(), []*Repo{extra, empty, other}, []string{"good", "nix"}, ClosureOptions{})
	want := "\"/usr/share/x\", required by \"good-1-1.noarch\", is in no repository; without filelists: extra, other\n" +
		"\"nix\", required by \"the list of packages\", is in no repository"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// The memory that a repository takes is bounded, regardless of its packages.
func TestBudgetOfPackages(t *testing.T) {
	const each = 1 << 16
	entry := `<package><name>a</name><arch>noarch</arch><format><requires>` + strings.Repeat(`<entry name="x"/>`, each) + `</requires></format></package>`
	document := io.MultiReader(strings.NewReader("<metadata>"), strings.NewReader(strings.Repeat(entry, 6<<20/each)))
	r := &Repo{BaseURL: metadatatest.Base}
	if err := r.readPrimary(document, "x86_64"); err == nil || !strings.Contains(err.Error(), "bytes of packages") {
		t.Fatalf("error %v, want the limit of what is kept", err)
	}
}
