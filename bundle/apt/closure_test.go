package apt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// suiteOf makes a suite of control files in short form: "name version" and
// further "Field: value" parts, separated by "; ".
func suiteOf(t testing.TB, name string, packages ...string) *Suite {
	t.Helper()
	s := &Suite{Name: name}
	for _, text := range packages {
		parts := strings.Split(text, "; ")
		head := strings.Fields(parts[0])
		lines := []string{"Package: " + head[0], "Version: " + head[1]}
		for _, line := range []string{"Filename: pool/" + head[0] + ".deb", "Size: 1", "SHA256: " + strings.Repeat("0", 64)} {
			if field, _, _ := strings.Cut(line, " "); !strings.Contains(text, field) {
				lines = append(lines, line)
			}
		}
		lines = append(lines, parts[1:]...)
		if !strings.Contains(text, "Architecture:") {
			lines = append(lines, "Architecture: amd64")
		}
		st, err := oneStanza(strings.NewReader(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		p := newPackage(st, metadatatest.Base, name)
		if p.Unusable != nil && !strings.Contains(text, "odd") {
			t.Fatal(p.Unusable)
		}
		s.Packages = append(s.Packages, p)
	}
	return s
}

// together returns the error for packages that exclude each other.
func together(reasons ...string) string {
	return "the packages cannot be installed together:\n  " + strings.Join(reasons, "\n  ")
}

func TestClosure(t *testing.T) {
	for _, tc := range []struct {
		name     string
		packages []string
		second   []string // of another suite
		want     string   // names asked for
		exclude  []string
		present  []string
		got      string
		err      string
	}{
		{name: "present with what it needs", packages: []string{"a 1; Depends: b, d", "b 1; Depends: c", "c 1", "d 1; Depends: c"}, want: "a", present: []string{"b"}, got: "a 1, d 1"},
		{name: "present but asked for", packages: []string{"a 1; Depends: b", "b 1; Depends: c", "c 1"}, want: "a b", present: []string{"b"}, got: "a 1, b 1"},
		{name: "the present alternative", packages: []string{"a 1; Depends: x | b", "x 1; Conflicts: b", "b 1"}, want: "a", present: []string{"b", "nix"}, got: "a 1"},
		{name: "not beside what is present", packages: []string{"a 1; Conflicts: b", "b 1"}, want: "a", present: []string{"b"}, err: together(`"a 1 amd64" excludes "b 1 amd64"`, `the list of packages has "a"`, `the list of packages has "b"`)},
		{name: "depends and pre-depends", packages: []string{"a 1; Depends: b (>= 1), c; Pre-Depends: d", "b 1", "c 1; Depends: a", "d 1", "e 1"}, want: "a", got: "a 1, b 1, c 1, d 1"},
		{name: "recommends are not taken", packages: []string{"a 1; Recommends: b; Suggests: b", "b 1"}, want: "a", got: "a 1"},
		{name: "newest over suites", packages: []string{"a 1; Depends: b", "b 1"}, second: []string{"b 2"}, want: "a", got: "a 1, b 2"},
		{name: "newest by version, not by suite", packages: []string{"b 1:1"}, second: []string{"b 2"}, want: "b", got: "b 1:1"},
		{name: "older when the newest does not do", packages: []string{"a 1; Depends: b (<< 2)", "b 1"}, second: []string{"b 2"}, want: "a", got: "a 1, b 1"},
		{name: "first alternative", packages: []string{"a 1; Depends: c | b", "b 1", "c 1"}, want: "a", got: "a 1, c 1"},
		{name: "first alternative that is there", packages: []string{"a 1; Depends: x | b", "b 1"}, want: "a", got: "a 1, b 1"},
		{name: "alternative already chosen", packages: []string{"a 1; Depends: c | b", "b 1", "c 1"}, want: "b a", got: "a 1, b 1"},
		{name: "virtual", packages: []string{"a 1; Depends: mta", "z 1; Provides: mta; Priority: important", "b 1; Provides: mta; Priority: optional"}, want: "a", got: "a 1, z 1"},
		{name: "virtual, name decides", packages: []string{"a 1; Depends: mta", "z 1; Provides: mta", "b 1; Provides: mta"}, want: "a", got: "a 1, b 1"},
		{name: "real before virtual", packages: []string{"a 1; Depends: b", "a-b 1; Provides: b", "b 1"}, want: "a", got: "a 1, b 1"},
		{name: "versioned provides", packages: []string{"a 1; Depends: v (>= 2)", "b 1; Provides: v (= 2)", "aa 1; Provides: v"}, want: "a", got: "a 1, b 1"},
		{name: "architecture qualifier", packages: []string{"a 1; Depends: b:any (>= 1)", "b 1; Multi-Arch: allowed"}, want: "a", got: "a 1, b 1"},
		{name: "qualifier of another architecture", packages: []string{"a 1; Depends: b:i386 | c", "b 1", "c 1"}, want: "a", got: "a 1, c 1"},
		{name: "conflict with another architecture", packages: []string{"a 1; Depends: b; Conflicts: b:i386", "b 1"}, want: "a", got: "a 1, b 1"},
		{name: "conflict found later", packages: []string{"a 1; Depends: b1 | b2, d", "b1 1; Depends: c", "b2 1", "c 1", "d 1; Depends: e", "e 1; Breaks: c"}, want: "a", got: "a 1, b2 1, d 1, e 1"},
		{name: "older version for a conflict", packages: []string{"a 1; Depends: b, c", "b 1", "c 1; Breaks: b (>> 1)"}, second: []string{"b 2"}, want: "a", got: "a 1, b 1, c 1"},
		{name: "conflict with something provided", packages: []string{"a 1; Provides: v; Conflicts: v", "b 1; Provides: v"}, want: "a b", err: together(`"a 1 amd64" excludes "b 1 amd64"`, `the list of packages has "a"`, `the list of packages has "b"`)},
		{name: "second alternative when the first lacks something", packages: []string{"a 1; Depends: b | c", "b 1; Depends: x", "c 1"}, want: "a", got: "a 1, c 1"},
		{name: "conflict avoided", packages: []string{"a 1; Depends: c, b1 | b2", "b1 1; Conflicts: c", "b2 1", "c 1"}, want: "a", got: "a 1, b2 1, c 1"},
		{name: "conflict without a choice", packages: []string{"a 1; Depends: c, b1", "b1 1; Conflicts: c", "c 1"}, want: "a", err: together(`"a 1 amd64" needs "b1"`, `"a 1 amd64" needs "c"`, `"b1 1 amd64" excludes "c 1 amd64"`, `the list of packages has "a"`)},
		{name: "conflicting provider avoided", packages: []string{"a 1; Depends: c, v", "b1 1; Provides: v; Breaks: c (<< 2)", "b2 1; Provides: v", "c 1"}, want: "a", got: "a 1, b2 1, c 1"},
		{name: "virtual name asked for", packages: []string{"b 1; Provides: v"}, want: "v", got: "b 1"},
		{name: "excluded", packages: []string{"a 1; Depends: b | c", "b 1", "c 1"}, want: "a", exclude: []string{"b*"}, got: "a 1, c 1"},
		{name: "other architecture", packages: []string{"a 1; Architecture: arm64", "a 0.9"}, want: "a", got: "a 0.9"},
		{name: "older when the newest is unusable", packages: []string{"odd 2; Size: 0", "odd 1"}, want: "odd", got: "odd 1"},
		{name: "provider when the real one is unusable", packages: []string{"a 1; Depends: odd", "odd 2; Filename: x y.deb", "b 1; Provides: odd"}, want: "a", got: "a 1, b 1"},
		{name: "unusable and not needed", packages: []string{"a 1", "odd 1; Filename: https://x/odd.deb", "odd-b a_b", "odd-c 1; Depends: ((("}, want: "a", got: "a 1"},
		{name: "broken Depends of a chosen one", packages: []string{"a 1; Depends: (((", "b 1"}, want: "a", err: `apt suite "one": package "a 1 amd64": relationship "(((": Unknown Operator in Possibility Version modifier: ((`},
		{name: "unusable by name", packages: []string{"odd 1; Filename: ../odd.deb"}, want: "odd", err: `"odd", needed by "the list of packages", is only in a package that cannot be used: apt suite "one": package "odd 1 amd64": location "../odd.deb" is not a plain path`},
		{name: "unusable by dependency", packages: []string{"a 1; Depends: odd (>= 1)", "odd 1; Size: many"}, want: "a", err: `"odd (>= 1)", needed by "a 1 amd64", is only in a package that cannot be used: apt suite "one": package "odd 1 amd64": size "many"`},
		{name: "unusable version", packages: []string{"a 1; Depends: odd (>= 1)", "odd a_b"}, want: "a", err: `"odd (>= 1)", needed by "a 1 amd64", is only in a package that cannot be used: apt suite "one": package "odd a_b amd64": version "a_b"`},
		{name: "unusable provider", packages: []string{"a 1; Depends: v", "odd 1; Provides: v; SHA256: "}, want: "a", err: `"v", needed by "a 1 amd64", is only in a package that cannot be used: apt suite "one": package "odd 1 amd64": SHA256 "": invalid checksum digest format`},
		{name: "unusable in another version", packages: []string{"a 1; Depends: odd (>= 2)", "odd 1; Size: many"}, want: "a", err: `"odd (>= 2)", needed by "a 1 amd64", is in no suite`},
		{name: "all missing are named", packages: []string{"a 1; Depends: x (>= 1), y | z"}, want: "a nix", err: "\"nix\", needed by \"the list of packages\", is in no suite\n\"x (>= 1)\", needed by \"a 1 amd64\", is in no suite\n\"y | z\", needed by \"a 1 amd64\", is in no suite"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			suites := []*Suite{suiteOf(t, "one", tc.packages...), suiteOf(t, "two", tc.second...)}
			out, err := Closure(t.Context(), suites, strings.Fields(tc.want), ClosureOptions{Arch: "amd64", Exclude: tc.exclude, Present: tc.present})
			text := ""
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff(tc.err, text); diff != "" {
				t.Fatalf("error (-want +got):\n%s", diff)
			}
			var got, names []string
			for _, p := range out {
				got = append(got, p.Name+" "+p.Version)
				names = append(names, p.Name)
			}
			if diff := cmp.Diff(tc.got, strings.Join(got, ", ")); diff != "" {
				t.Fatalf("packages (-want +got):\n%s", diff)
			}
			again, err := Closure(t.Context(), suites, names, ClosureOptions{Arch: "amd64", Exclude: tc.exclude, Present: tc.present})
			if tc.err == "" && (err != nil || len(again) < len(out)) {
				t.Fatalf("closure of the closure: %v, %v", again, err)
			}
		})
	}
}
