package apt

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

func TestWriteAndReadSuite(t *testing.T) {
	keys, ring := metadatatest.Key(t)
	a := control("chrony", "1:4.3-2", "amd64", "Depends: libc6 (>= 2.36)", "Provides: time-daemon")
	b := control("libcommon", "1", "all")
	f := repository(t, keys, options(), a, b)
	if diff := cmp.Diff(f, repository(t, keys, options(), b, a)); diff != "" {
		t.Fatalf("order of packages matters:\n%s", diff)
	}
	s, err := ReadSuite(t.Context(), f, metadatatest.Base+"/", source(), "amd64", ring, SuiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Signer != ring.Fingerprints()[0] {
		t.Fatalf("signer %q, want %q", s.Signer, ring.Fingerprints()[0])
	}
	var got []string
	for _, p := range s.Packages {
		got = append(got, p.String()+" "+p.URL)
		if b := f[p.Filename]; digest.FromBytes(b) != p.Digest || int64(len(b)) != p.Size {
			t.Errorf("%s: digest %s and size %d are not of the file", p, p.Digest, p.Size)
		}
	}
	want := []string{
		"chrony 1:4.3-2 amd64 " + metadatatest.Base + "/pool/c/chrony/chrony_4.3-2_amd64.deb",
		"libcommon 1 all " + metadatatest.Base + "/pool/libc/libcommon/libcommon_1_all.deb",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("packages (-want +got):\n%s", diff)
	}
	old := maps.Clone(f)
	delete(old, "dists/offk8s/InRelease")
	if _, err := ReadSuite(t.Context(), old, metadatatest.Base, source(), "amd64", ring, SuiteOptions{}); err != nil {
		t.Fatalf("an archive with Release and Release.gpg only: %v", err)
	}
}

func TestFromDebCompressions(t *testing.T) {
	text := control("a", "1-1", "amd64", "Depends: b")
	for _, compression := range []string{"", ".gz", ".xz", ".zst"} {
		b := deb(t, text, compression)
		m, err := FromDeb(bytes.NewReader(b), int64(len(b)), digest.FromBytes(b), "pool/a.deb")
		if err != nil {
			t.Fatalf("control.tar%s: %v", compression, err)
		}
		if m.Name != "a" || m.Version != "1-1" || m.Arch != "amd64" || m.control.get("Depends") != "b" {
			t.Fatalf("control.tar%s: read %+v", compression, m)
		}
	}
	good := deb(t, text, ".gz")
	for name, b := range map[string][]byte{
		"empty":           nil,
		"no ar":           []byte("hello world, this is no archive"),
		"cut":             good[:100],
		"bad compression": deb(t, text, ".bz2"),
		"no version":      deb(t, "Package: a\nArchitecture: amd64\n", ".gz"),
		"traversal":       deb(t, control("../a", "1", "amd64"), ".gz"),
		"two stanzas":     deb(t, text+"\n"+text, ".gz"),
	} {
		if _, err := FromDeb(bytes.NewReader(b), int64(len(b)), digest.FromBytes(b), "x"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestT21ArchiveLies(t *testing.T) {
	keys, ring := metadatatest.Key(t)
	_, stranger := metadatatest.Stranger(t)
	good := repository(t, keys, options(), control("a", "1", "amd64"))
	expired := options()
	expired.ValidUntil = metadatatest.Created.Add(24 * time.Hour)
	edit := func(name, old, replacement string) metadatatest.Files {
		f := maps.Clone(good)
		f[name] = bytes.Replace(f[name], []byte(old), []byte(replacement), 1)
		if bytes.Equal(f[name], good[name]) {
			t.Fatalf("%q is not in %s", old, name)
		}
		return f
	}
	// resigned makes a correctly signed suite of a changed Packages.
	resigned := func(old, replacement string) metadatatest.Files {
		f := maps.Clone(good)
		packages := bytes.ReplaceAll(f["dists/offk8s/main/binary-amd64/Packages"], []byte(old), []byte(replacement))
		index := map[string][]byte{"main/binary-amd64/Packages": packages}
		return signed(t, keys, metadatatest.Files{
			ReleasePath: writeRelease(index, []string{"amd64"}, options()), "dists/offk8s/main/binary-amd64/Packages": packages,
		})
	}
	const in, gz = "dists/offk8s/InRelease", "dists/offk8s/main/binary-amd64/Packages.gz"
	otherSuite := source()
	otherSuite.Suite = "bullseye"
	for _, tc := range []struct {
		name   string
		files  metadatatest.Files
		ring   *trust.Keyring
		source catalog.AptSource
		o      SuiteOptions
		want   error // nil: any
	}{
		{"unknown key", good, stranger, source(), SuiteOptions{}, trust.ErrUnknownKey},
		{"no keys", good, nil, source(), SuiteOptions{}, trust.ErrNoKey},
		{"changed InRelease", edit(in, "Origin: offk8s", "Origin: evil"), ring, source(), SuiteOptions{}, trust.ErrBadSignature},
		{"text before", metadatatest.Files{in: append([]byte("Suite: x\n"), good[in]...)}, ring, source(), SuiteOptions{}, trust.ErrUnsigned},
		{"unsigned", metadatatest.Files{in: good["dists/offk8s/Release"]}, ring, source(), SuiteOptions{}, trust.ErrUnsigned},
		{"release without signature", metadatatest.Files{"dists/offk8s/Release": good["dists/offk8s/Release"]}, ring, source(), SuiteOptions{}, trust.ErrUnsigned},
		{"changed Packages", edit(gz, "\x1f\x8b", "\x1f\x8c"), ring, source(), SuiteOptions{}, nil},
		{"missing Packages", metadatatest.Files{in: good[in]}, ring, source(), SuiteOptions{}, nil},
		{"another suite's release", metadatatest.Files{"dists/bullseye/InRelease": good[in], "dists/bullseye/main/binary-amd64/Packages.gz": good[gz]}, ring, otherSuite, SuiteOptions{}, trust.ErrBadSignature},
		{"past Valid-Until", repository(t, keys, expired, control("a", "1", "amd64")), ring, source(), SuiteOptions{}, ErrExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadSuite(t.Context(), tc.files, metadatatest.Base, tc.source, "amd64", tc.ring, tc.o)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if network := tc.name == "missing Packages"; errors.Is(err, metadata.ErrAltered) == network {
				t.Fatalf("error %v, of class ErrAltered: %t", err, !network)
			}
		})
	}
	for name, o := range map[string]SuiteOptions{"ignored": {IgnoreValidUntil: true}, "in time": {Now: metadatatest.Created}} {
		if _, err := ReadSuite(t.Context(), repository(t, keys, expired, control("a", "1", "amd64")), metadatatest.Base, source(), "amd64", ring, o); err != nil {
			t.Errorf("Valid-Until %s: %v", name, err)
		}
	}
	for name, f := range map[string]metadatatest.Files{
		"traversal":   resigned("Filename: pool/", "Filename: ../../"),
		"absolute":    resigned("Filename: pool/", "Filename: /pool/"),
		"URL":         resigned("Filename: pool/", "Filename: http://evil.test/"),
		"no file":     resigned("Filename:", "File:"),
		"no digest":   resigned("SHA256:", "SHA1:"),
		"no size":     resigned("Size:", "Bytes:"),
		"bad name":    resigned("Package: a", "Package: a/../b"),
		"bad version": resigned("Version: 1", "Version: 1_2"),
	} {
		suite, err := ReadSuite(t.Context(), f, metadatatest.Base, source(), "amd64", ring, SuiteOptions{})
		if err != nil || len(suite.Packages) != 1 || suite.Packages[0].Unusable == nil {
			t.Errorf("%s: %+v, %v; want one unusable package", name, suite, err)
		}
	}
	if _, err := ReadSuite(t.Context(), resigned("x-nothing", ""), metadatatest.Base, source(), "amd64", ring, SuiteOptions{}); err != nil {
		t.Errorf("the suite that the others are made from: %v", err)
	}
}

func TestT22ControlMonsters(t *testing.T) {
	fields := ""
	for i := range maxFields + 1 {
		fields += "F" + strings.Repeat("x", i) + ": 1\n"
	}
	for name, text := range map[string]string{
		"endless line":      "A: " + strings.Repeat("x", maxLine+1),
		"endless stanza":    "A: x\n" + strings.Repeat(" "+strings.Repeat("x", 1<<16)+"\n", 65),
		"field flood":       fields,
		"field twice":       "A: 1\na: 2\n",
		"no field":          "hello\n",
		"continuation only": " x\n",
		"empty name":        ": x\n",
		"space in name":     "A b: x\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := eachStanza(strings.NewReader(text), func(*stanza) error { return nil }); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func FuzzDeb822(f *testing.F) {
	f.Add(control("a", "1:2-3", "amd64", "Depends: b (>= 1) | c:any, d [amd64] <!x>, e (= 2)", "Filename: pool/a.deb", "Size: 1"))
	f.Add("A: 1\n\nB:\n x\n .\n# c\n")
	f.Add("Package: a\nDepends: (((\nProvides: ${x}, [, <")
	f.Fuzz(func(t *testing.T, text string) {
		_ = eachStanza(strings.NewReader(text), func(s *stanza) error {
			if len(s.fields) == 0 {
				t.Fatal("stanza without a field")
			}
			if p := newPackage(s, metadatatest.Base, "x"); p.Unusable == nil && !strings.HasPrefix(p.URL, metadatatest.Base+"/") {
				t.Fatalf("URL %q", p.URL)
			}
			_, _ = parseDependency(s.get("Depends"))
			return nil
		})
	})
}

func FuzzPackages(f *testing.F) {
	f.Add([]byte(control("a", "1:2-3", "amd64", "Depends: b (>= 1) | c:any", "Filename: pool/a.deb", "Size: 1", "SHA256: "+strings.Repeat("0", 64))))
	f.Add([]byte("Package: a\nVersion: 1_2\nArchitecture: all\nProvides: b (= 1)\n\nPackage: b\nArchitecture: amd64\nDepends: (((\n"))
	f.Fuzz(func(t *testing.T, index []byte) {
		s := &Suite{Name: "x"}
		if err := s.readPackages(bytes.NewReader(index), metadatatest.Base, "amd64"); err != nil {
			return
		}
		var names []string
		for _, p := range s.Packages {
			names = append(names, p.Name)
			if p.Unusable == nil && !strings.HasPrefix(p.URL, metadatatest.Base+"/") {
				t.Fatalf("URL %q", p.URL)
			}
		}
		packages, _ := Closure(t.Context(), []*Suite{s}, names, ClosureOptions{})
		for _, p := range packages {
			if p.Unusable != nil {
				t.Fatalf("%s is unusable: %v", p, p.Unusable)
			}
		}
	})
}

// A line of the release file matters when its file is wanted.
func TestOddLinesOfRelease(t *testing.T) {
	const zero, one = "0000000000000000000000000000000000000000000000000000000000000000", "1111111111111111111111111111111111111111111111111111111111111111"
	text := "Suite: x\nSHA256:\n " + zero + " 1 good\n " + zero + " 1 good\n " + zero + " 1 two\n " + one + " 1 two\n short 1 digest\n " + zero + " many size\n"
	r, err := parseRelease([]byte(text), metadatatest.Base)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"good": true, "two": false, "digest": false, "size": false} {
		if _, found, err := r.file(name); !found || (err == nil) != ok {
			t.Errorf("%s: found %t, %v; want good: %t", name, found, err, ok)
		}
	}
	if _, found, err := r.file("other"); found || err != nil {
		t.Errorf("file that is not listed: found %t, %v", found, err)
	}
}
