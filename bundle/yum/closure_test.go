package yum

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// repoOf reads a made-up repository.
func repoOf(t testing.TB, id string, priority int, packages ...pkg) *Repo {
	t.Helper()
	s := source()
	s.ID, s.Priority = id, priority
	r, err := ReadRepo(t.Context(), makeRepo(t, packages...), s, "x86_64", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClosure(t *testing.T) {
	p := func(nevra string, requires ...string) pkg {
		return pkg{nevra: nevra + ".x86_64", requires: requires}
	}
	provides := func(nevra string, provides ...string) pkg {
		return pkg{nevra: nevra + ".x86_64", provides: provides}
	}
	for _, tc := range []struct {
		name     string
		packages []pkg
		second   []pkg // of a repository of worse priority
		want     string
		exclude  []string
		present  []string
		got      string
		err      string
	}{
		{name: "present with requires", packages: []pkg{p("a-1-1", "b", "d"), p("b-1-1", "c"), p("c-1-1"), p("d-1-1", "c")}, want: "a", present: []string{"b", "nix"}, got: "a-1-1 d-1-1"},
		{name: "present but asked for", packages: []pkg{p("a-1-1", "b"), p("b-1-1", "c"), p("c-1-1")}, want: "a b", present: []string{"b"}, got: "a-1-1 b-1-1"},
		{name: "requires of requires", packages: []pkg{p("a-1-1", "b", "rpmlib(X) <= 1"), p("b-1-1", "a"), p("c-1-1")}, want: "a", got: "a-1-1 b-1-1"},
		{name: "newest", packages: []pkg{p("a-1-1", "b"), p("b-1-1"), p("b-1:0-1"), p("b-2-1")}, want: "a", got: "a-1-1 b-1:0-1"},
		{name: "exact older version", packages: []pkg{p("a-1-1", "b = 1-1"), p("b-1-1"), p("b-2-1")}, want: "a", got: "a-1-1 b-1-1"},
		{name: "range by one package", packages: []pkg{p("a-1-1", "b >= 1", "b < 3"), p("b-0.5-1"), p("b-2-1"), p("b-3-1")}, want: "a", got: "a-1-1 b-2-1"},
		{name: "provided", packages: []pkg{p("a-1-1", "libx.so.1()(64bit)"), provides("x-libs-1-1", "libx.so.1()(64bit)")}, want: "a", got: "a-1-1 x-libs-1-1"},
		{name: "same name before shorter name", packages: []pkg{p("a-1-1", "mail"), provides("m-1-1", "mail"), p("mail-1-1")}, want: "a", got: "a-1-1 mail-1-1"},
		{name: "shorter name", packages: []pkg{p("a-1-1", "v"), provides("xlong-1-1", "v"), provides("yb-1-1", "v")}, want: "a", got: "a-1-1 yb-1-1"},
		{name: "already chosen provider", packages: []pkg{p("a-1-1", "v"), provides("xlong-1-1", "v"), provides("yb-1-1", "v")}, want: "xlong a", got: "a-1-1 xlong-1-1"},
		{name: "priority before version", packages: []pkg{p("a-1-1")}, second: []pkg{p("a-2-1")}, want: "a", got: "a-1-1"},
		{name: "file in primary", packages: []pkg{p("a-1-1", "/bin/sh"), {nevra: "sh-1-1.noarch", files: []string{"/bin/sh"}}}, want: "a", got: "a-1-1 sh-1-1"},
		{name: "file in filelists", packages: []pkg{p("a-1-1", "/usr/share/x"), {nevra: "x-1-1.noarch", more: []string{"/usr/share/x"}}}, want: "a", got: "a-1-1 x-1-1"},
		{name: "not modular", packages: []pkg{p("a-2-1.module_el8+1"), p("a-1-1")}, want: "a", got: "a-1-1"},
		{name: "modular when nothing else", packages: []pkg{p("a-2-1.module_el8+1")}, want: "a", got: "a-2-1.module_el8+1"},
		{name: "obsoleted provider", packages: []pkg{p("a-1-1", "v"), provides("b-1-1", "v"), {nevra: "cnew-1-1.x86_64", provides: []string{"v"}, obsoletes: []string{"b < 2"}}}, want: "a", got: "a-1-1 cnew-1-1"},
		{name: "replaced package asked for", packages: []pkg{p("old-1-1"), {nevra: "new-1-1.x86_64", provides: []string{"old = 2"}, obsoletes: []string{"old < 2"}}}, want: "old", got: "new-1-1"},
		{name: "conflict avoided", packages: []pkg{p("a-1-1", "v", "zz"), {nevra: "b-1-1.x86_64", provides: []string{"v"}, conflicts: []string{"a"}}, provides("cc-1-1", "v"), p("zz-1-1")}, want: "a", got: "a-1-1 cc-1-1 zz-1-1"},
		{name: "provided name asked for", packages: []pkg{provides("conntrack-tools-1-1", "conntrack = 1")}, want: "conntrack", got: "conntrack-tools-1-1"},
		{name: "file asked for", packages: []pkg{{nevra: "x-1-1.noarch", files: []string{"/usr/bin/x"}}}, want: "/usr/bin/x", got: "x-1-1"},
		{name: "version asked for", packages: []pkg{p("a-1-1"), p("a-2-1")}, want: "a-1", got: "a-1-1"},
		{name: "excluded", packages: []pkg{p("a-1-1", "v"), provides("b-1-1", "v"), provides("cc-1-1", "v")}, want: "a", exclude: []string{"b*"}, got: "a-1-1 cc-1-1"},
		{name: "rich and", packages: []pkg{p("a-1-1", "(b and c >= 1)"), p("b-1-1"), p("c-1-1")}, want: "a", got: "a-1-1 b-1-1 c-1-1"},
		{name: "rich or, first", packages: []pkg{p("a-1-1", "(b or c)"), p("b-1-1"), p("c-1-1")}, want: "a", got: "a-1-1 b-1-1"},
		{name: "rich or, chosen", packages: []pkg{p("a-1-1", "(b or c)"), p("b-1-1"), p("c-1-1")}, want: "c a", got: "a-1-1 c-1-1"},
		{name: "rich or, the one there is", packages: []pkg{p("a-1-1", "(b >= 2 or c)"), p("b-1-1"), p("c-1-1")}, want: "a", got: "a-1-1 c-1-1"},
		{name: "rich if", packages: []pkg{p("a-1-1", "(b if c)"), p("b-1-1"), p("c-1-1")}, want: "a", got: "a-1-1 b-1-1"},
		{name: "rich if, not there and not needed", packages: []pkg{p("a-1-1", "(b if c)"), p("c-1-1")}, want: "a", got: "a-1-1"},
		{name: "rich if, needed later", packages: []pkg{p("a-1-1", "(b if c)", "d"), p("c-1-1"), p("d-1-1", "c")}, want: "a", err: `"(b if c)", required by "a-1-1.x86_64", is in no repository`},
		{name: "rich if else", packages: []pkg{p("a-1-1", "(b if c else d)"), p("d-1-1")}, want: "a", got: "a-1-1 d-1-1"},
		{name: "rich with", packages: []pkg{p("a-1-1", "(v >= 1 with v < 2)"), provides("b-1-1", "v = 2"), provides("cc-1-1", "v = 1.5")}, want: "a", got: "a-1-1 cc-1-1"},
		{name: "rich without", packages: []pkg{p("a-1-1", "(v without w)"), provides("b-1-1", "v", "w"), provides("cc-1-1", "v")}, want: "a", got: "a-1-1 cc-1-1"},
		{name: "rich unless", packages: []pkg{p("a-1-1", "(b unless c)"), p("b-1-1")}, want: "a", got: "a-1-1 b-1-1"},
		{name: "rich nested", packages: []pkg{p("a-1-1", "((b or c) and (d if a))"), p("c-1-1"), p("d-1-1")}, want: "a", got: "a-1-1 c-1-1 d-1-1"},
		{name: "rich broken", packages: []pkg{p("a-1-1", "(b xor c)"), p("b-1-1")}, want: "a", err: `"(b xor c)", required by "a-1-1.x86_64", is in no repository`},
		{name: "rich if else, both", packages: []pkg{p("a-1-1", "(b if c else d)", "c"), p("b-1-1"), p("c-1-1"), p("d-1-1")}, want: "a", got: "a-1-1 b-1-1 c-1-1 d-1-1"},
		{name: "rich unless excludes", packages: []pkg{p("a-1-1", "(b unless c)", "(c or d)"), p("b-1-1"), p("c-1-1"), p("d-1-1")}, want: "a", got: "a-1-1 b-1-1 d-1-1"},
		{name: "rich file in filelists", packages: []pkg{p("a-1-1", "(/usr/share/x or c)"), {nevra: "b-1-1.noarch", more: []string{"/usr/share/x"}}}, want: "a", got: "a-1-1 b-1-1"},
		{name: "rich conflict", packages: []pkg{{nevra: "a-1-1.x86_64", requires: []string{"v"}, conflicts: []string{"(b and c)"}}, provides("b-1-1", "v"), p("c-1-1"), provides("dd-1-1", "v")}, want: "c a", got: "a-1-1 c-1-1 dd-1-1"},
		{name: "rich conflict with itself", packages: []pkg{p("a-1-1", "v"), {nevra: "b-1-1.x86_64", provides: []string{"v"}, conflicts: []string{"(b and a)"}}, provides("cc-1-1", "v")}, want: "a", got: "a-1-1 cc-1-1"},
		{name: "rich conflict with itself or another", packages: []pkg{{nevra: "a-1-1.x86_64", requires: []string{"v"}, conflicts: []string{"(a or b)"}}, provides("b-1-1", "v"), provides("cc-1-1", "v")}, want: "a", got: "a-1-1 cc-1-1"},
		{name: "rich conflict with what it provides", packages: []pkg{{nevra: "a-1-1.x86_64", provides: []string{"v = 3"}, conflicts: []string{"(v >= 1 with v >= 2)"}}}, want: "a", got: "a-1-1"},
		{name: "rich conflict with itself on a condition that nothing meets", packages: []pkg{{nevra: "a-1-1.x86_64", conflicts: []string{"(v if zz else a)"}}}, want: "a", got: "a-1-1"},
		{name: "conflict with a file", packages: []pkg{{nevra: "a-1-1.x86_64", requires: []string{"v"}, conflicts: []string{"/usr/share/x"}}, {nevra: "b-1-1.x86_64", provides: []string{"v"}, more: []string{"/usr/share/x"}}, provides("cc-1-1", "v")}, want: "a", got: "a-1-1 cc-1-1"},
		{name: "conflict found later", packages: []pkg{p("a-1-1", "v", "d"), {nevra: "b-1-1.x86_64", provides: []string{"v"}, requires: []string{"c"}}, provides("bb-1-1", "v"), p("c-1-1"), p("d-1-1", "e"), {nevra: "e-1-1.x86_64", conflicts: []string{"c"}}}, want: "a", got: "a-1-1 bb-1-1 d-1-1 e-1-1"},
		{name: "conflict without a choice", packages: []pkg{p("a-1-1", "b", "c"), {nevra: "b-1-1.x86_64", conflicts: []string{"c"}}, p("c-1-1")}, want: "a", err: "the packages cannot be installed together:\n  \"a-1-1.x86_64\" needs \"b\"\n  \"a-1-1.x86_64\" needs \"c\"\n  \"b-1-1.x86_64\" excludes \"c-1-1.x86_64\"\n  the list of packages has \"a\""},
		{name: "obsoletes exclude", packages: []pkg{p("a-1-1", "v", "c"), provides("b-1-1", "v"), {nevra: "c-1-1.x86_64", obsoletes: []string{"b < 2"}}, provides("dd-1-1", "v")}, want: "a", got: "a-1-1 c-1-1 dd-1-1"},
		{name: "one version for two", packages: []pkg{p("a-1-1", "b", "c"), p("b-1-1"), p("b-2-1"), p("c-1-1", "b < 2")}, want: "a", got: "a-1-1 b-1-1 c-1-1"},
		{name: "second provider when the first lacks something", packages: []pkg{p("a-1-1", "v"), {nevra: "b-1-1.x86_64", provides: []string{"v"}, requires: []string{"x"}}, provides("cc-1-1", "v")}, want: "a", got: "a-1-1 cc-1-1"},
		{name: "multilib, own word size", packages: []pkg{p("a-1-1", "b"), p("b-1-1"), {nevra: "b-2-1.i686"}}, want: "a", got: "a-1-1 b-1-1"},
		{name: "multilib, both word sizes", packages: []pkg{p("a-1-1", "b(x86-64)", "lib.so.1"), provides("b-1-1", "b(x86-64)"), {nevra: "b-1-1.i686", provides: []string{"lib.so.1"}}}, want: "a", got: "a-1-1 b-1-1 b-1-1"},
		{name: "all missing are named", packages: []pkg{p("a-1-1", "x >= 1", "/no/file", "b"), p("b-1-1", "y")}, want: "a nix", err: "\"/no/file\", required by \"a-1-1.x86_64\", is in no repository\n\"nix\", required by \"the list of packages\", is in no repository\n\"x >= 1\", required by \"a-1-1.x86_64\", is in no repository\n\"y\", required by \"b-1-1.x86_64\", is in no repository"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			repos := []*Repo{repoOf(t, "one", 0, tc.packages...), repoOf(t, "two", 200, tc.second...)}
			o := ClosureOptions{Arch: "x86_64", Exclude: tc.exclude, Present: tc.present}
			out, err := Closure(t.Context(), repos, strings.Fields(tc.want), o)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff(tc.err, text); diff != "" {
				t.Fatalf("error (-want +got):\n%s", diff)
			}
			var got, names []string
			for _, p := range out {
				got = append(got, p.Name+"-"+p.EVR())
				names = append(names, p.String())
			}
			if diff := cmp.Diff(tc.got, strings.Join(got, " ")); diff != "" {
				t.Fatalf("packages (-want +got):\n%s", diff)
			}
			if tc.err != "" {
				return
			}
			again, err := Closure(t.Context(), repos, names, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(len(out), len(again)); diff != "" {
				t.Fatalf("closure of the closure has another size:\n%s", diff)
			}
		})
	}
}

func TestClosureNeedsFilelists(t *testing.T) {
	f := makeRepo(t, pkg{nevra: "a-1-1.noarch", requires: []string{"/usr/share/x"}})
	for name := range f {
		if strings.Contains(name, "filelists") {
			delete(f, name)
		}
	}
	r, err := ReadRepo(t.Context(), f, source(), "x86_64", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Closure(t.Context(), []*Repo{r}, []string{"a"}, ClosureOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %v, want that filelists is missing", err)
	}
}

func TestParseRich(t *testing.T) {
	for _, bad := range []string{
		"", "(", "()", "(a", "(a b)", "(a and)", "(a and b or c)", "(a if b if c)", "(a else b)", "(a >= )", "(a and b) c",
		strings.Repeat("(", 1000) + "a" + strings.Repeat(")", 1000), "(a without b without c)",
	} {
		if e, err := parseRich(bad); err == nil {
			t.Errorf("%.40q accepted: %+v", bad, e)
		}
	}
	e, err := parseRich("(libc.so.6(GLIBC_2.4)(64bit) >= 1:2-3 if (b or c) else d)")
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(name string) expr { return expr{relation: Relation{Name: name}} }
	want := expr{op: "if", operands: []expr{
		{relation: Relation{Name: "libc.so.6(GLIBC_2.4)(64bit)", Op: ">=", Epoch: "1", Version: "2", Release: "3"}},
		{op: "or", operands: []expr{leaf("b"), leaf("c")}},
		leaf("d"),
	}}
	if diff := cmp.Diff(want, e, cmp.AllowUnexported(expr{})); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}
