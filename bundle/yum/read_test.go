package yum

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

func TestReadRepo(t *testing.T) {
	f := makeRepo(t,
		pkg{nevra: "chrony-4.3-1.el9.x86_64", requires: []string{"libseccomp.so.2()(64bit)", "bash >= 5"}, files: []string{"/usr/bin/chronyc"}},
		pkg{nevra: "bash-1:5.1-2.noarch", provides: []string{"/bin/sh"}},
		pkg{nevra: "other-1-1.aarch64"},
		pkg{nevra: "old-1-1.i686"},
	)
	repo, err := ReadRepo(t.Context(), f, source(), "x86_64", nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range repo.Packages {
		got = append(got, p.String()+" "+p.URL)
	}
	want := []string{
		"chrony-4.3-1.el9.x86_64 " + metadatatest.Base + "/Packages/c/chrony-4.3-1.el9.x86_64.rpm",
		"bash-1:5.1-2.noarch " + metadatatest.Base + "/Packages/b/bash-5.1-2.noarch.rpm",
		"old-1-1.i686 " + metadatatest.Base + "/Packages/o/old-1-1.i686.rpm",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("packages (-want +got):\n%s", diff)
	}
	wantRequires := []Relation{{Name: "libseccomp.so.2()(64bit)"}, {Name: "bash", Op: ">=", Epoch: "0", Version: "5"}}
	if diff := cmp.Diff(wantRequires, repo.Packages[0].Requires); diff != "" {
		t.Fatalf("requires (-want +got):\n%s", diff)
	}
}

func TestReadRepoCompressions(t *testing.T) {
	primary := document(writePrimary, PackageMeta{
		NEVRA: parseNEVRA("a-1-1.noarch"), Digest: digest.FromString("a"), Size: 1, Location: "a.rpm",
	})
	for _, kind := range []string{"gz", "xz", "zst", "xml"} {
		t.Run(kind, func(t *testing.T) {
			f := metadatatest.Files{"primary." + kind: metadatatest.Compress(t, primary, kind)}
			f["repodata/repomd.xml"] = repomdOf("primary."+kind, f["primary."+kind], primary)
			repo, err := ReadRepo(t.Context(), f, source(), "x86_64", nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(repo.Packages) != 1 {
				t.Fatalf("%d packages, want 1", len(repo.Packages))
			}
		})
	}
}

// repomdOf describes one primary file.
func repomdOf(href string, packed, open []byte) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">
<checksum type="sha256">%x</checksum><open-checksum type="sha256">%x</open-checksum>
<location href="%s"/><size>%d</size><open-size>%d</open-size></data></repomd>`,
		sha256.Sum256(packed), sha256.Sum256(open), href, len(packed), len(open))
}

func TestT21RepositoryLies(t *testing.T) {
	good := func() metadatatest.Files { return makeRepo(t, pkg{nevra: "a-1-1.noarch"}) }
	primaryOf := func(f metadatatest.Files) string {
		for name := range f {
			if strings.Contains(name, "primary") {
				return name
			}
		}
		return ""
	}
	edit := func(f metadatatest.Files, name, old, replacement string) metadatatest.Files {
		before := f[name]
		f[name] = bytes.Replace(before, []byte(old), []byte(replacement), 1)
		if bytes.Equal(before, f[name]) {
			t.Fatalf("%q is not in %s", old, name)
		}
		return f
	}
	const md = "repodata/repomd.xml"
	for _, tc := range []struct {
		name  string
		files func() metadatatest.Files
	}{
		{"other primary", func() metadatatest.Files {
			f := good()
			f[primaryOf(f)] = metadatatest.Compress(t, []byte("<metadata/>"), "gz")
			return f
		}},
		{"no primary", func() metadatatest.Files { f := good(); delete(f, primaryOf(f)); return f }},
		{"wrong open checksum", func() metadatatest.Files {
			f := good()
			at := bytes.Index(f[md], []byte("<open-checksum")) + len(`<open-checksum type="sha256">`)
			f[md][at] ^= 1
			return f
		}},
		{"SHA-1 checksum", func() metadatatest.Files { return edit(good(), md, `checksum type="sha256"`, `checksum type="sha"`) }},
		{"shorter open size", func() metadatatest.Files { return edit(good(), md, "<open-size>", "<open-size>1</open-size><x>") }},
		{"primary elsewhere", func() metadatatest.Files { return edit(good(), md, `href="repodata/`, `href="../repodata/`) }},
		{"primary on another host", func() metadatatest.Files {
			return edit(good(), md, `href="repodata/`, `href="https://evil.test/repodata/`)
		}},
		{"primary with a base", func() metadatatest.Files {
			return edit(good(), md, `<location `, `<location xml:base="https://evil.test" `)
		}},
		{"two primaries", func() metadatatest.Files {
			f := good()
			f[md] = bytes.ReplaceAll(f[md], []byte(`type="filelists"`), []byte(`type="primary"`))
			return f
		}},
		{"no repomd", func() metadatatest.Files { return metadatatest.Files{} }},
		{"odd size", func() metadatatest.Files { return edit(good(), md, "<size>", "<size>x</size><x>") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadRepo(t.Context(), tc.files(), source(), "x86_64", nil)
			if err == nil {
				t.Fatal("accepted")
			}
			if network := errors.Is(err, fs.ErrNotExist); errors.Is(err, metadata.ErrAltered) == network {
				t.Fatalf("error %v, of class ErrAltered: %t", err, !network)
			}
		})
	}
	unused := edit(good(), md, `<data type="filelists">`, `<data type="unused"><size>many</size></data><data type="filelists">`)
	if _, err := ReadRepo(t.Context(), unused, source(), "x86_64", nil); err != nil {
		t.Fatalf("an odd entry that nobody reads: %v", err)
	}
	if _, err := ReadRepo(t.Context(), good(), source(), "x86_64", nil); err != nil {
		t.Fatalf("the repository that the others are made from: %v", err)
	}
}

func TestT21RepomdSignature(t *testing.T) {
	keys, ring := metadatatest.Key(t)
	_, stranger := metadatatest.Stranger(t)
	f := makeRepo(t, pkg{nevra: "a-1-1.noarch"})
	sig, err := trust.SignDetached(keys, f["repodata/repomd.xml"], metadatatest.Created)
	if err != nil {
		t.Fatal(err)
	}
	with := func(asc []byte) metadatatest.Files {
		out := metadatatest.Files{}
		for k, v := range f {
			out[k] = v
		}
		if asc != nil {
			out["repodata/repomd.xml.asc"] = asc
		}
		return out
	}
	for _, tc := range []struct {
		name     string
		asc      []byte
		ring     *trust.Keyring
		required bool
		good     bool
	}{
		{"good, required", sig, ring, true, true},
		{"good, not required", sig, ring, false, true},
		{"missing, required", nil, ring, true, false},
		{"missing, not required", nil, ring, false, true},
		{"unknown key", sig, stranger, true, false},
		{"unknown key, not required", sig, stranger, false, false},
		{"required, no keys", sig, nil, true, false},
		{"garbage", []byte("x"), ring, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := source()
			s.SignedMetadata = tc.required
			_, err := ReadRepo(t.Context(), with(tc.asc), s, "x86_64", tc.ring)
			if (err == nil) != tc.good {
				t.Fatalf("error %v, want good: %t", err, tc.good)
			}
			if err != nil && !errors.Is(err, metadata.ErrAltered) {
				t.Errorf("error %q is not of class ErrAltered", err)
			}
			if tc.asc == nil && err != nil && (!errors.Is(err, trust.ErrUnsigned) || !strings.Contains(err.Error(), "repomd.xml.asc")) {
				t.Errorf("error %q does not say which signature is missing", err)
			}
		})
	}
}

// monsters are documents that must be refused quickly and without much memory.
func monsters() map[string]string {
	bomb := `<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "` + strings.Repeat("x", 100) + `">`
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf(`<!ENTITY a%d "%s">`, i, strings.Repeat("&a;", 10))
	}
	attributes := ""
	for i := range 1000 {
		attributes += fmt.Sprintf(` a%d="x"`, i)
	}
	return map[string]string{
		"billion laughs":   bomb + `]><metadata>&a9;</metadata>`,
		"external entity":  `<!DOCTYPE m SYSTEM "file:///etc/passwd"><metadata/>`,
		"unknown entity":   `<metadata><package>&x;</package></metadata>`,
		"deep nesting":     `<metadata>` + strings.Repeat("<a>", 100_000) + strings.Repeat("</a>", 100_000) + `</metadata>`,
		"deep in package":  `<metadata><package>` + strings.Repeat("<a>", 100_000) + strings.Repeat("</a>", 100_000) + `</package></metadata>`,
		"attribute flood":  `<metadata><package` + attributes + `/></metadata>`,
		"endless text":     `<metadata><package><name>` + strings.Repeat("x", maxToken+1) + `</name></package></metadata>`,
		"endless comment":  `<metadata><!--` + strings.Repeat("x", maxToken+1) + `--></metadata>`,
		"endless tag name": `<metadata><` + strings.Repeat("x", maxToken+1) + `/></metadata>`,
		"two roots":        `<metadata/><metadata/>`,
		"other root":       `<html/>`,
		"cut":              `<metadata><package type="rpm"><name>a</name>`,
		"empty":            ``,
		"not XML":          "<<<<",
		"latin-1":          `<?xml version="1.0" encoding="ISO-8859-1"?><metadata/>`,
	}
}

func TestT22XMLMonsters(t *testing.T) {
	for name, document := range monsters() {
		t.Run(name, func(t *testing.T) {
			packed := metadatatest.Compress(t, []byte(document), "gz")
			f := metadatatest.Files{"p.xml.gz": packed, "repodata/repomd.xml": repomdOf("p.xml.gz", packed, []byte(document))}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := ReadRepo(t.Context(), f, source(), "x86_64", nil); err == nil {
				t.Fatal("accepted")
			}
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
				t.Fatalf("%d MiB allocated for a document of %d bytes", grown>>20, len(document))
			}
			f["repodata/repomd.xml"] = []byte(document)
			if _, err := ReadRepo(t.Context(), f, source(), "x86_64", nil); err == nil {
				t.Fatal("accepted as repomd.xml")
			}
		})
	}
}

// A primary that unpacks to more than repomd.xml says stops there.
func TestT22DecompressionBomb(t *testing.T) {
	bomb := append([]byte("<metadata><!--x-->"), bytes.Repeat([]byte(" "), 64<<20)...)
	packed := metadatatest.Compress(t, bomb, "zst")
	md := repomdOf("p", packed, bomb)
	md = bytes.Replace(md, []byte("<open-size>"+strconv.Itoa(len(bomb))), []byte("<open-size>1000"), 1)
	_, err := ReadRepo(t.Context(), metadatatest.Files{"p": packed, "repodata/repomd.xml": md}, source(), "x86_64", nil)
	if !errors.Is(err, reader.ErrTooLarge) {
		t.Fatalf("error %v, want %v", err, reader.ErrTooLarge)
	}
}

func TestEncodingOfMetadata(t *testing.T) {
	err := (&Repo{}).readPrimary(strings.NewReader(monsters()["latin-1"]), "x86_64")
	if err == nil || !strings.Contains(err.Error(), `metadata is in "ISO-8859-1", want UTF-8`) || strings.Contains(err.Error(), "CharsetReader") {
		t.Fatalf("error %v, want the encoding", err)
	}
}

func FuzzPrimary(f *testing.F) {
	f.Add(document(writePrimary, PackageMeta{NEVRA: parseNEVRA("a-1-1.noarch"), Digest: digest.FromString("a"), Size: 1, Location: "a.rpm", files: []metaFile{{path: "/bin/a"}}}))
	f.Add([]byte(`<metadata><package><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><checksum type="sha256">` +
		strings.Repeat("0", 64) + `</checksum><size package="1"/><location xml:base="https://x.test/y" href="a.rpm"/></package></metadata>`))
	for _, document := range monsters() {
		f.Add([]byte(document[:min(len(document), 512)]))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		r := &Repo{ID: "fuzz", BaseURL: metadatatest.Base}
		if err := r.readPrimary(bytes.NewReader(document), "x86_64"); err != nil {
			return
		}
		for _, p := range r.Packages {
			if p.Unusable != nil || p.Elsewhere && strings.HasPrefix(p.URL, "https://") {
				continue
			}
			if !strings.HasPrefix(p.URL, metadatatest.Base+"/") || strings.Contains(p.URL, "..") && strings.Contains(p.URL, "/../") {
				t.Fatalf("URL %q", p.URL)
			}
			for _, rel := range p.Requires {
				if rel.isRich() {
					_, _ = parseRich(rel.Name)
				}
			}
		}
	})
}

func FuzzFilelists(f *testing.F) {
	id := digest.FromString("a").Encoded()
	f.Add(document(writeFilelists, PackageMeta{NEVRA: parseNEVRA("a-1-1.noarch"), Digest: digest.FromString("a"), files: []metaFile{{path: "/usr/share/x"}}}))
	for _, document := range monsters() {
		document = strings.ReplaceAll(document, "metadata", "filelists")
		f.Add([]byte(document[:min(len(document), 512)]))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		r := &Repo{ID: "fuzz", Packages: []Package{{pkgid: id}}}
		if err := r.readFilelists(bytes.NewReader(document), map[string]bool{"/usr/share/x": true}); err != nil {
			return
		}
		for _, f := range r.Packages[0].Files {
			if f != "/usr/share/x" {
				t.Fatalf("file %q was not wanted", f)
			}
		}
	})
}
