package closure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// table has the needs and exclusions of packages by name: "b|c" is one of two,
// "x&y>b" is b if x and y are chosen, "?b" a wish.
type table struct{ needs, excludes map[string][]string }

func (r table) Needs(p string) []Need[string] { return needsOf(r.needs[p]) }
func (r table) Excludes(p string) []string    { return r.excludes[p] }

func needsOf(list []string) []Need[string] {
	var out []Need[string]
	for _, text := range list {
		n := Need[string]{Text: text}
		rest, wish := strings.CutPrefix(text, "?")
		n.Wish = wish
		if condition, then, ok := strings.Cut(rest, ">"); ok {
			n.If, rest = strings.Split(condition, "&"), then
		}
		if rest != "" {
			n.Any = strings.Split(rest, "|")
		}
		out = append(out, n)
	}
	return out
}

func TestSolve(t *testing.T) {
	for _, tc := range []struct {
		name, needs, excludes, list, want, err string
	}{
		{name: "first of each", needs: "a:b|c d:c|b", list: "a d", want: "a d b"},
		{name: "one that is chosen already", needs: "a:b|c", list: "c a", want: "c a"},
		{name: "dead end far away", needs: "a:b|c a:d b:e e:f d:g", excludes: "g:f", list: "a", want: "a c d g"},
		{name: "nothing is left of a dead end", needs: "a:b|c b:x b:y x:z", excludes: "y:a", list: "a", want: "a c"},
		{name: "condition that holds later", needs: "a:c>b a:d d:c", list: "a", want: "a d c b"},
		{name: "condition that never holds", needs: "a:c>", list: "a", want: "a"},
		{name: "condition avoided", needs: "a:c> a:c|d", list: "a", want: "a d"},
		{name: "wish", needs: "a:?b", list: "a", want: "a b"},
		{name: "wish against a need", needs: "a:?b a:c", excludes: "b:c", list: "a", want: "a c"},
		{name: "nothing satisfies", needs: "a:b b:", list: "a", err: `nothing satisfies ""`},
		{name: "no solution", needs: "a:b a:c|d", excludes: "b:c d:b", list: "a", err: "the packages cannot be installed together:\n  " +
			"\"a\" needs \"b\"\n  \"a\" needs \"c|d\"\n  \"b\" excludes \"c\"\n  \"d\" excludes \"b\"\n  the list of packages has \"a\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := func(s string) map[string][]string {
				out := map[string][]string{}
				for _, f := range strings.Fields(s) {
					p, rest, _ := strings.Cut(f, ":")
					out[p] = append(out[p], rest)
				}
				return out
			}
			choices, err := Solve(t.Context(), table{fields(tc.needs), fields(tc.excludes)}, needsOf(strings.Fields(tc.list)))
			text := ""
			if err != nil {
				text = err.Error()
			}
			var got []string
			for _, c := range choices {
				got = append(got, c.Package)
			}
			if diff := cmp.Diff(tc.err, text); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSolveIsComplete compares with trying every subset of twelve packages.
func TestSolveIsComplete(t *testing.T) {
	const n = 12
	solved, unsolved := 0, 0
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 0))
		name := func() string { return string(rune('a' + r.IntN(n))) }
		rules := table{map[string][]string{}, map[string][]string{}}
		for i := range n {
			p := string(rune('a' + i))
			for range r.IntN(4) {
				need := name() + "|" + name()
				switch r.IntN(5) {
				case 0:
					need = name()
				case 1:
					need = name() + ">" + need
				case 2:
					need = name() + "&" + name() + ">"
				}
				rules.needs[p] = append(rules.needs[p], need)
			}
			for range r.IntN(3) {
				rules.excludes[p] = append(rules.excludes[p], name())
			}
			rules.excludes[p] = slices.DeleteFunc(rules.excludes[p], func(q string) bool { return q == p })
		}
		list := needsOf([]string{name(), name() + "|" + name()})
		possible := false
		for set := range 1 << n {
			possible = possible || rules.allows(list, func(p string) bool { return set>>(p[0]-'a')&1 == 1 })
		}
		choices, err := Solve(t.Context(), rules, list)
		if possible != (err == nil) {
			t.Fatalf("seed %d: possible %v, error %v", seed, possible, err)
		}
		if err != nil {
			unsolved++
			continue
		}
		solved++
		if !rules.allows(list, func(p string) bool {
			return slices.ContainsFunc(choices, func(c Choice[string]) bool { return c.Package == p })
		}) {
			t.Fatalf("seed %d: %v is no solution", seed, choices)
		}
	}
	if solved < 60 || unsolved < 60 {
		t.Errorf("%d solved, %d not: the test sees too few of one kind", solved, unsolved)
	}
}

// allows reports whether a set satisfies the list and the rules of its packages.
func (r table) allows(list []Need[string], has func(string) bool) bool {
	lacks := func(p string) bool { return !has(p) }
	unmet := func(n Need[string]) bool {
		return !slices.ContainsFunc(n.If, lacks) && !slices.ContainsFunc(n.Any, has)
	}
	if slices.ContainsFunc(list, unmet) {
		return false
	}
	for p, needs := range r.needs {
		if has(p) && slices.ContainsFunc(needsOf(needs), unmet) {
			return false
		}
	}
	for p, others := range r.excludes {
		if has(p) && slices.ContainsFunc(others, has) {
			return false
		}
	}
	return true
}

func TestSolveStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Solve(ctx, table{}, needsOf([]string{"a|b"})); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func ExampleSolve() {
	rules := table{needs: map[string][]string{"web": {"mail|post"}, "mail": {"lock"}}, excludes: map[string][]string{"lock": {"web"}}}
	choices, err := Solve(context.Background(), rules, needsOf([]string{"web"}))
	fmt.Println(choices, err)
	// Output: [{web  web} {post web mail|post}] <nil>
}
