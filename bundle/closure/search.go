package closure

import (
	"context"
	"slices"
)

// solver searches for an assignment of packages to chosen and not chosen. A
// literal is the number of a package, or its negative if the package is not
// chosen. Clauses are made when a package is chosen for the first time, so that
// only the part of the repositories that the list can reach is looked at.
type solver[P comparable] struct {
	rules   Rules[P]
	ids     map[P]int
	vars    []variable[P] // by number; 0 is no package
	clauses []clause
	roots   []int // clauses of the list
	special []int // learned clauses and those of conditional needs

	trail         []int // literals that hold, in order
	levels        []int // length of the trail before each decision
	propagated    int   // of the trail
	met           int   // of the trail: their needs are met
	contradiction int   // the clause that cannot hold, after a failure
}

type variable[P comparable] struct {
	pkg       P
	value     int // 1, -1 or 0: undecided
	level     int
	reason    int   // the clause that decided it, or -1
	in        []int // clauses
	needs     []int // its clauses without a further condition
	wishes    []int
	described bool // its clauses are made
}

// clause holds if one of its literals does.
type clause struct {
	lits     []int
	from     []int  // the clauses from which it was learned
	by       int    // the package that has the need, 0 for the list
	need     string // its text
	excludes bool
}

// state of a clause.
const (
	open  = iota
	unit  // one literal is undecided, the others do not hold
	fails // no literal holds
)

func abs(l int) int { return max(l, -l) }

func sign(l int) int {
	if l < 0 {
		return -1
	}
	return 1
}

// value returns 1 if the literal holds, -1 if its opposite does, else 0.
func (s *solver[P]) value(l int) int { return s.vars[abs(l)].value * sign(l) }

func (s *solver[P]) id(p P) int {
	id, ok := s.ids[p]
	if !ok {
		id = len(s.vars)
		s.ids[p] = id
		s.vars = append(s.vars, variable[P]{pkg: p, reason: -1})
	}
	return id
}

// solve reports whether it found an assignment that satisfies the list.
func (s *solver[P]) solve(ctx context.Context, list []Need[P]) (bool, error) {
	for _, n := range list {
		c := s.addNeed(0, n)
		s.roots = append(s.roots, c)
		if !s.enforce(c) {
			s.contradiction = c
			return false, nil
		}
	}
	for ctx.Err() == nil {
		if conflict := s.propagate(); conflict >= 0 {
			if len(s.levels) == 0 {
				s.contradiction = conflict
				return false, nil
			}
			s.learn(conflict)
			continue
		}
		l := s.next()
		if l == 0 {
			return true, nil
		}
		s.levels = append(s.levels, len(s.trail))
		s.assign(l, -1)
	}
	return false, ctx.Err()
}

// next returns the package to choose next, or 0 if all needs are met.
func (s *solver[P]) next() int {
	if l := s.firstOf(s.roots); l != 0 {
		return l
	}
	for ; s.met < len(s.trail); s.met++ {
		if l := s.trail[s.met]; l > 0 {
			if l := s.firstOf(s.vars[l].needs); l != 0 {
				return l
			}
		}
	}
	if l := s.firstOf(s.special); l != 0 {
		return l
	}
	for _, l := range s.trail {
		if l > 0 {
			if l := s.firstOf(s.vars[l].wishes); l != 0 {
				return l
			}
		}
	}
	return 0
}

// firstOf returns the first package that makes one of the clauses hold, 0 if all
// hold already or have a condition that does not.
func (s *solver[P]) firstOf(clauses []int) int {
next:
	for _, c := range clauses {
		first := 0
		for _, l := range s.clauses[c].lits {
			switch v := s.value(l); {
			case v > 0, v == 0 && l < 0:
				continue next
			case v == 0 && first == 0:
				first = l
			}
		}
		if first != 0 {
			return first
		}
	}
	return 0
}

func (s *solver[P]) assign(l, reason int) {
	v := &s.vars[abs(l)]
	v.value, v.level, v.reason = sign(l), len(s.levels), reason
	s.trail = append(s.trail, l)
}

// propagate decides the consequences of the trail. It returns the number of a
// clause that cannot hold, or -1.
func (s *solver[P]) propagate() int {
	for s.propagated < len(s.trail) {
		l := s.trail[s.propagated]
		s.propagated++
		if l > 0 && !s.vars[l].described {
			if conflict := s.describe(l); conflict >= 0 {
				return conflict
			}
		}
		for _, c := range s.vars[abs(l)].in {
			if !s.enforce(c) {
				return c
			}
		}
	}
	return -1
}

// enforce decides the last undecided literal of a clause. It reports whether the
// clause can hold.
func (s *solver[P]) enforce(c int) bool {
	state, last := s.state(c)
	if state == unit {
		s.assign(last, c)
	}
	return state != fails
}

func (s *solver[P]) state(c int) (state, undecided int) {
	for _, l := range s.clauses[c].lits {
		switch v := s.value(l); {
		case v > 0, v == 0 && undecided != 0:
			return open, 0
		case v == 0:
			undecided = l
		}
	}
	if undecided != 0 {
		return unit, undecided
	}
	return fails, 0
}

// describe makes the clauses of a chosen package. It returns the number of one
// that cannot hold, or -1.
func (s *solver[P]) describe(p int) int {
	s.vars[p].described = true
	first := len(s.clauses)
	for _, other := range s.rules.Excludes(s.vars[p].pkg) {
		if q := s.id(other); q != p {
			s.addClause(clause{lits: []int{-p, -q}, excludes: true})
		}
	}
	var hard []int
	for c := first; c < len(s.clauses); c++ {
		hard = append(hard, c)
	}
	for _, n := range s.rules.Needs(s.vars[p].pkg) {
		c := s.addNeed(p, n)
		switch {
		case n.Wish:
			s.vars[p].wishes = append(s.vars[p].wishes, c)
			continue
		case len(n.If) > 0:
			s.special = append(s.special, c)
		default:
			s.vars[p].needs = append(s.vars[p].needs, c)
		}
		hard = append(hard, c)
	}
	for _, c := range hard {
		if !s.enforce(c) {
			return c
		}
	}
	return -1
}

func (s *solver[P]) addNeed(by int, n Need[P]) int {
	var lits []int
	if by != 0 {
		lits = append(lits, -by)
	}
	for _, p := range n.If {
		if l := -s.id(p); !slices.Contains(lits, l) {
			lits = append(lits, l)
		}
	}
	for _, p := range n.Any {
		lits = append(lits, s.id(p))
	}
	c := clause{lits: lits, by: by, need: n.Text, excludes: n.Conflict}
	if n.Wish {
		s.clauses = append(s.clauses, c) // forces nothing
		return len(s.clauses) - 1
	}
	return s.addClause(c)
}

func (s *solver[P]) addClause(c clause) int {
	n := len(s.clauses)
	s.clauses = append(s.clauses, c)
	for _, l := range c.lits {
		s.vars[abs(l)].in = append(s.vars[abs(l)].in, n)
	}
	return n
}

// learn adds the clause that follows from a conflict, goes back to where it
// decides something, and decides that.
func (s *solver[P]) learn(conflict int) {
	now := len(s.levels)
	seen := map[int]bool{}
	var lits, from []int
	pending, at := 0, len(s.trail)
	for c := conflict; ; {
		from = append(from, c)
		for _, l := range s.clauses[c].lits {
			v := abs(l)
			if seen[v] || s.value(l) > 0 || s.vars[v].level == 0 {
				continue
			}
			seen[v] = true
			if s.vars[v].level == now {
				pending++
			} else {
				lits = append(lits, l)
			}
		}
		for at--; !seen[abs(s.trail[at])]; at-- {
		}
		pending--
		if pending == 0 {
			lits = append(lits, -s.trail[at])
			break
		}
		c = s.vars[abs(s.trail[at])].reason
	}
	last := lits[len(lits)-1]
	back := 0
	for _, l := range lits[:len(lits)-1] {
		back = max(back, s.vars[abs(l)].level)
	}
	s.undo(back)
	c := s.addClause(clause{lits: lits, from: from})
	s.special = append(s.special, c)
	s.assign(last, c)
}

// undo takes back the decisions above a level.
func (s *solver[P]) undo(level int) {
	n := s.levels[level]
	for _, l := range s.trail[n:] {
		v := &s.vars[abs(l)]
		v.value, v.reason = 0, -1
	}
	s.trail = slices.Delete(s.trail, n, len(s.trail))
	s.levels = s.levels[:level]
	s.propagated, s.met = n, 0
}
