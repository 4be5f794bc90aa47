package yum

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/test/testenv"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// question is a line for testdata/resolve.py.
type question struct {
	Repositories []string     `json:"repositories"`
	Root         string       `json:"root"`
	Sets         []packageSet `json:"sets"`
}

type packageSet struct {
	Names   []string `json:"names"`
	Closure []string `json:"closure"` // nil if we refuse
	refused error
}

type answer struct{ Whole, Closed string }

// TestClosureAgreesWithDnf makes repositories of packages with random relations of
// every kind and asks dnf's solver, in an empty root, whether random sets of them
// can be installed: with the whole repository, and with nothing but our closure.
// OFFK8S_CLOSURE_SETS is how many, 10 of each repository, OFFK8S_CLOSURE_SEED where
// to begin.
func TestClosureAgreesWithDnf(t *testing.T) {
	needDnfLibrary(t)
	sets, first := testenv.Number(t, "OFFK8S_CLOSURE_SETS", 60), testenv.Number(t, "OFFK8S_CLOSURE_SEED", 0)
	var questions []question
	for seed := first; seed < first+sets/10; seed++ {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		f := makeRepo(t, randomPackages(r)...)
		if seed%3 == 0 {
			f = withModules(t, f)
		}
		dir := t.TempDir()
		for name, b := range f {
			putFile(t, filepath.Join(dir, name), b)
		}
		repo, err := ReadRepo(t.Context(), f, source(), "x86_64", nil)
		if err != nil {
			t.Fatal(err)
		}
		questions = append(questions, ask(t, r, 10, []*Repo{repo}, dir))
	}
	compare(t, first, questions)
}

// TestClosureAgreesWithDnfOnRepositories does the same with real repositories, the
// directories of OFFK8S_CLOSURE_REPOS, separated by colons.
func TestClosureAgreesWithDnfOnRepositories(t *testing.T) {
	directories := os.Getenv("OFFK8S_CLOSURE_REPOS")
	if directories == "" {
		t.Skip("OFFK8S_CLOSURE_REPOS names no repositories") // make closure
	}
	needDnfLibrary(t)
	var repos []*Repo
	list := strings.Split(directories, ":")
	for _, dir := range list {
		repo, err := ReadRepo(t.Context(), dirGetter(dir).files(t), catalog.YumRepository{ID: filepath.Base(dir), BaseURL: metadatatest.Base}, "x86_64", nil)
		if err != nil {
			t.Fatal(err)
		}
		repos = append(repos, repo)
	}
	first := testenv.Number(t, "OFFK8S_CLOSURE_SEED", 0)
	r := rand.New(rand.NewPCG(uint64(first), 2))
	compare(t, first, []question{ask(t, r, testenv.Number(t, "OFFK8S_CLOSURE_SETS", 60), repos, list...)})
}

func needDnfLibrary(t *testing.T) {
	t.Helper()
	testenv.NeedTool(t, "dnf")
	testenv.NeedRoot(t)
}

// ask draws n sets of packages and closes over them.
func ask(t *testing.T, r *rand.Rand, n int, repos []*Repo, directories ...string) question {
	t.Helper()
	q := question{Repositories: directories, Root: t.TempDir()}
	var names []string
	for _, repo := range repos {
		for _, p := range repo.Packages {
			names = append(names, p.Name)
		}
	}
	for range n {
		var s packageSet
		for range 1 + r.IntN(4) {
			s.Names = append(s.Names, names[r.IntN(len(names))])
		}
		packages, err := Closure(t.Context(), repos, s.Names, ClosureOptions{Arch: "x86_64"})
		s.refused = err
		for _, p := range packages {
			s.Closure = append(s.Closure, p.String())
		}
		q.Sets = append(q.Sets, s)
	}
	return q
}

func compare(t *testing.T, first int, questions []question) {
	t.Helper()
	var in bytes.Buffer
	for _, q := range questions {
		if err := json.NewEncoder(&in).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/resolve.py")
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	installable, refused := 0, 0
	for i, q := range questions {
		var of []answer
		if err := answers.Decode(&of); err != nil {
			t.Fatal(err)
		}
		for j, a := range of {
			s := q.Sets[j]
			switch {
			case s.refused != nil && a.Whole == "":
				t.Errorf("repository %d, %q: dnf installs it, we say %v", first+i, s.Names, s.refused)
			case s.refused != nil:
				refused++
			case a.Whole != "" && a.Whole != "replaced":
				t.Errorf("repository %d, %q: we take %q, dnf says %s", first+i, s.Names, s.Closure, a.Whole)
			case a.Closed != "":
				t.Errorf("repository %d, %q: dnf does not install it from %q: %s", first+i, s.Names, s.Closure, a.Closed)
			default:
				installable++
			}
		}
	}
	t.Logf("%d repositories from %d: %d sets installable, %d refused by both", len(questions), first, installable, refused)
}

// randomPackages makes packages with relations of every kind to each other.
func randomPackages(r *rand.Rand) []pkg {
	one := func(list ...string) string { return list[r.IntN(len(list))] }
	name := func() string { return "p" + strconv.Itoa(r.IntN(20)) }
	version := func() string { return one("1-1", "2-1", "2-2", "1:1-1", "3~rc1-1") }
	relation := func() string {
		switch r.IntN(8) {
		case 0, 1:
			return name()
		case 2:
			return name() + one(" = ", " >= ", " < ", " <= ", " > ") + version()
		case 3:
			return "virtual" + strconv.Itoa(r.IntN(6))
		case 4:
			return "virtual" + strconv.Itoa(r.IntN(6)) + one(" = ", " >= ", " < ") + one("1", "2", "3-1")
		case 5:
			return fmt.Sprintf("lib%d.so.1%s", r.IntN(5), one("()(64bit)", "()(64bit)", ""))
		case 6:
			return "/usr/bin/" + strconv.Itoa(r.IntN(8))
		}
		return "/usr/share/" + strconv.Itoa(r.IntN(8))
	}
	var rich func(depth int) string
	rich = func(depth int) string {
		operand := func() string {
			if depth > 0 && r.IntN(3) == 0 {
				return rich(depth - 1)
			}
			return relation()
		}
		switch op := one("and", "or", "if", "if-else", "unless", "with", "without"); op {
		case "if-else":
			return "(" + operand() + " if " + operand() + " else " + operand() + ")"
		case "with", "without":
			virtual := "virtual" + strconv.Itoa(r.IntN(6))
			return "(" + virtual + " >= 1 " + op + " " + virtual + one(" < 3", " >= 2", " = 2") + ")"
		default:
			return "(" + operand() + " " + op + " " + operand() + ")"
		}
	}
	some := func(most int, make func() string) []string {
		var out []string
		for range r.IntN(most + 1) {
			out = append(out, make())
		}
		return out
	}
	rarely := func(oneOf int, make func() string) []string {
		if r.IntN(oneOf) > 0 {
			return nil
		}
		return []string{make()}
	}
	seen := map[string]bool{}
	var out []pkg
	for len(out) < 45 {
		n := name()
		arch := one("x86_64", "x86_64", "noarch")
		if n == "p18" || n == "p19" {
			// Whether a name may be there in two word sizes depends on how libsolv was built.
			arch = "i686"
		}
		p := pkg{nevra: n + "-" + version() + "." + arch}
		if seen[p.nevra] {
			continue
		}
		seen[p.nevra] = true
		p.requires = append(some(3, relation), rarely(4, func() string { return rich(1) })...)
		p.conflicts = append(rarely(8, relation), rarely(16, func() string { return rich(0) })...)
		p.obsoletes = rarely(10, func() string { return name() + one("", " < ", " <= ") })
		for i, o := range p.obsoletes {
			if strings.HasSuffix(o, " ") {
				p.obsoletes[i] += version()
			}
		}
		p.provides = append(some(2, func() string {
			return "virtual" + strconv.Itoa(r.IntN(6)) + one("", " = 1", " = 2", " = 3-1")
		}), rarely(2, func() string {
			return fmt.Sprintf("lib%d.so.1%s", r.IntN(5), one("()(64bit)", "()(64bit)", ""))
		})...)
		p.files = rarely(3, func() string { return "/usr/bin/" + strconv.Itoa(r.IntN(8)) })
		p.more = rarely(3, func() string { return "/usr/share/" + strconv.Itoa(r.IntN(8)) })
		out = append(out, p)
	}
	for _, nevra := range modularPackages {
		out = append(out, pkg{nevra: nevra, requires: rarely(2, relation)})
	}
	return out
}
