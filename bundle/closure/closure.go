// Package closure chooses packages that can be installed together: those of a
// list and everything that they need. It knows no package format; Rules describe
// a repository to it.
//
// The search is complete: Solve fails only if there is no such choice. It takes
// the first package of every need, as package managers do, and learns from each
// dead end a clause that keeps it from going there again (conflict-driven clause
// learning, Marques-Silva and Sakallah, GRASP, 1996).
package closure

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Need is a requirement: of Any one is chosen, if all packages of If are.
type Need[P comparable] struct {
	If       []P
	Any      []P  // in order of preference; if empty, nothing satisfies the need
	Wish     bool // dropped if something stands against it
	Conflict bool // Any is empty: not all of If may be chosen
	Text     string
}

// Rules describe the packages of repositories. The order in which they return
// packages decides between several solutions.
type Rules[P comparable] interface {
	Needs(p P) []Need[P]
	// Excludes returns the packages that cannot be installed beside p. It is
	// enough if one of two packages names the other.
	Excludes(p P) []P
}

// Choice is a chosen package with the need that it was chosen for. By is the
// package that has the need, or the zero value for one of the list.
type Choice[P comparable] struct {
	Package, By P
	Text        string
}

// Failure is the error if there is no solution.
type Failure[P comparable] struct {
	// Missing are the needs that no package satisfies, if there are any.
	Missing []Miss[P]
	// Against explains why packages exclude each other, if nothing is missing:
	// one line for each rule that has a part in it.
	Against []string
}

func (f *Failure[P]) Error() string {
	if len(f.Missing) > 0 {
		return fmt.Sprintf("nothing satisfies %q", f.Missing[0].Need.Text)
	}
	return "the packages cannot be installed together:\n  " + strings.Join(f.Against, "\n  ")
}

// Miss is a need that no package satisfies. By is as in Choice.
type Miss[P comparable] struct {
	By   P
	Need Need[P]
}

// Solve returns the chosen packages in the order in which they were needed. The
// error is a *Failure, or that of ctx.
func Solve[P comparable](ctx context.Context, rules Rules[P], list []Need[P]) ([]Choice[P], error) {
	return SolveBeside(ctx, rules, list, nil)
}

// SolveBeside is Solve for a host that has the packages of base and everything that they
// need: of those it returns only packages that list asks for itself. The choice is one that
// can be installed beside them. A need of base that no package satisfies does not count.
func SolveBeside[P comparable](ctx context.Context, rules Rules[P], list, base []Need[P]) ([]Choice[P], error) {
	base = slices.DeleteFunc(slices.Clone(base), func(n Need[P]) bool { return len(n.Any) == 0 })
	s := &solver[P]{rules: rules, ids: map[P]int{}, vars: make([]variable[P], 1)}
	all := slices.Concat(list, base)
	solved, err := s.solve(ctx, all)
	switch {
	case err != nil:
		return nil, err
	case solved:
		return s.beside(list, base), nil
	}
	if missing := missing(rules, all); len(missing) > 0 {
		return nil, &Failure[P]{Missing: missing}
	}
	return nil, &Failure[P]{Against: s.explain()}
}

// beside returns the choices for list without those for base.
func (s *solver[P]) beside(list, base []Need[P]) []Choice[P] {
	var none P
	have := map[P]bool{}
	for _, c := range s.choices(base) {
		have[c.Package] = true
	}
	return slices.DeleteFunc(s.choices(list), func(c Choice[P]) bool { return c.By != none && have[c.Package] })
}

// choices walks from the list over the needs of the solution, so that nothing is
// left in it that only a dead end needed.
func (s *solver[P]) choices(list []Need[P]) []Choice[P] {
	w := walk[P]{rules: s.rules, taken: map[P]bool{}, pick: func(n Need[P]) (P, bool) {
		i := slices.IndexFunc(n.Any, func(p P) bool { return s.value(s.ids[p]) > 0 })
		if i < 0 {
			var none P
			return none, false
		}
		return n.Any[i], true
	}}
	w.run(list)
	return w.choices
}

// missing returns the needs that nothing satisfies if every need takes its first
// package, whatever that excludes.
func missing[P comparable](rules Rules[P], list []Need[P]) []Miss[P] {
	w := walk[P]{rules: rules, taken: map[P]bool{}, pick: func(n Need[P]) (P, bool) {
		if len(n.Any) == 0 {
			var none P
			return none, false
		}
		return n.Any[0], true
	}}
	w.run(list)
	return w.missing
}

// walk takes a package for every need, breadth first.
type walk[P comparable] struct {
	rules   Rules[P]
	pick    func(Need[P]) (P, bool)
	taken   map[P]bool
	choices []Choice[P]
	missing []Miss[P]
	later   []Miss[P] // needs whose condition does not hold yet
}

func (w *walk[P]) run(list []Need[P]) {
	var none P
	for _, n := range list {
		w.need(none, n)
	}
	for i := 0; ; {
		for ; i < len(w.choices); i++ {
			p := w.choices[i].Package
			for _, n := range w.rules.Needs(p) {
				w.need(p, n)
			}
		}
		later := w.later
		w.later = nil
		for _, l := range later {
			w.need(l.By, l.Need)
		}
		if i == len(w.choices) {
			return
		}
	}
}

func (w *walk[P]) need(by P, n Need[P]) {
	has := func(p P) bool { return w.taken[p] }
	if slices.ContainsFunc(n.If, func(p P) bool { return !w.taken[p] }) {
		w.later = append(w.later, Miss[P]{by, n})
		return
	}
	if slices.ContainsFunc(n.Any, has) {
		return
	}
	p, ok := w.pick(n)
	switch {
	case ok:
		w.taken[p] = true
		w.choices = append(w.choices, Choice[P]{p, by, n.Text})
	case !n.Wish && !n.Conflict:
		w.missing = append(w.missing, Miss[P]{by, n})
	}
}

// explain names the rules that the contradiction follows from.
func (s *solver[P]) explain() []string {
	seen := map[int]bool{}
	var lines []string
	var visit func(c int)
	visit = func(c int) {
		if c < 0 || seen[c] {
			return
		}
		seen[c] = true
		if s.clauses[c].from == nil {
			lines = append(lines, s.text(s.clauses[c]))
		}
		for _, l := range s.clauses[c].lits {
			if v := &s.vars[abs(l)]; v.level == 0 {
				visit(v.reason)
			}
		}
		for _, f := range s.clauses[c].from {
			visit(f)
		}
	}
	visit(s.contradiction)
	slices.Sort(lines)
	return slices.Compact(lines)
}

// text describes a clause that was not learned.
func (s *solver[P]) text(c clause) string {
	name := func(l int) string { return fmt.Sprintf("%q", fmt.Sprint(s.vars[abs(l)].pkg)) }
	switch {
	case c.excludes && c.need == "":
		return name(c.lits[0]) + " excludes " + name(c.lits[1])
	case c.by == 0:
		return fmt.Sprintf("the list of packages has %q", c.need)
	}
	if c.excludes {
		return fmt.Sprintf("%s excludes %q", name(c.by), c.need)
	}
	return fmt.Sprintf("%s needs %q", name(c.by), c.need)
}
