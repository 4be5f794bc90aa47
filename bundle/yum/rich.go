package yum

import (
	"fmt"
	"strings"
)

// expr is a rich dependency as a tree: a leaf has only a relation, a node an
// operator and two or three operands ("if" and "unless" have else as third).
type expr struct {
	op       string // "", "and", "or", "with", "without", "if", "unless"
	relation Relation
	operands []expr
}

// maxRichDepth bounds nesting; real packages stay below 5.
const maxRichDepth = 16

// isRich reports whether the relation is a rich (boolean) dependency.
func (r Relation) isRich() bool { return strings.HasPrefix(r.Name, "(") }

// parseRich reads "(a >= 1 if b else (c or d))"
// (rpm 4.18, docs/manual/boolean_dependencies.md).
func parseRich(s string) (expr, error) {
	p := &richParser{tokens: richTokens(s)}
	e, err := p.group(0)
	if err == nil && len(p.tokens) != 0 {
		err = fmt.Errorf("%q left over", strings.Join(p.tokens, " "))
	}
	if err != nil {
		return expr{}, fmt.Errorf("rich dependency %q: %w", s, err)
	}
	return e, nil
}

// richTokens splits at spaces and at the parentheses that group; those inside
// a name, as in "libc.so.6(GLIBC_2.4)(64bit)", belong to the name.
func richTokens(s string) []string {
	var out []string
	for _, word := range strings.Fields(s) {
		for strings.HasPrefix(word, "(") {
			out, word = append(out, "("), word[1:]
		}
		closing := 0
		for strings.HasSuffix(word, ")") && strings.Count(word, ")") > strings.Count(word, "(") {
			closing, word = closing+1, word[:len(word)-1]
		}
		if word != "" {
			out = append(out, word)
		}
		for range closing {
			out = append(out, ")")
		}
	}
	return out
}

type richParser struct{ tokens []string }

func (p *richParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *richParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

// group reads "( operand [op operand]... )".
func (p *richParser) group(depth int) (expr, error) {
	if depth > maxRichDepth {
		return expr{}, fmt.Errorf("more than %d nested groups", maxRichDepth)
	}
	if t := p.next(); t != "(" {
		return expr{}, fmt.Errorf("found %q, want a group", t)
	}
	first, err := p.operand(depth)
	if err != nil {
		return expr{}, err
	}
	if p.peek() == ")" {
		p.next()
		return first, nil
	}
	e := expr{op: p.next(), operands: []expr{first}}
	switch e.op {
	case "and", "or", "with", "without", "if", "unless":
	default:
		return expr{}, fmt.Errorf("unknown operator %q", e.op)
	}
	for {
		operand, err := p.operand(depth)
		if err != nil {
			return expr{}, err
		}
		e.operands = append(e.operands, operand)
		t := p.next()
		if t == ")" {
			return e, nil
		}
		conditional := e.op == "if" || e.op == "unless"
		if conditional && (t != "else" || len(e.operands) != 2) || !conditional && t != e.op || e.op == "without" {
			return expr{}, fmt.Errorf("found %q in %q", t, e.op)
		}
	}
}

func (p *richParser) operand(depth int) (expr, error) {
	if p.peek() == "(" {
		return p.group(depth + 1)
	}
	name := p.next()
	if name == "" || name == ")" {
		return expr{}, fmt.Errorf("found %q, want a name", name)
	}
	r := Relation{Name: name}
	switch p.peek() {
	case "=", "<", "<=", ">", ">=":
		r.Op = p.next()
		r.Epoch, r.Version, r.Release = parseEVR(p.next())
		if r.Version == "" {
			return expr{}, fmt.Errorf("%q without a version", name)
		}
	}
	return expr{relation: r}, nil
}

// requireRich takes the packages that a rich dependency of p needs.
func (s *solver) requireRich(p *Package, text string) {
	e, err := parseRich(text)
	if err != nil || !s.fulfil(e) {
		s.missRich(text, p)
	}
}

// missRich records that a rich dependency of p does not hold, with an unusable
// package that would provide one of its parts.
func (s *solver) missRich(text string, p *Package) {
	var unusable []*Package
	for _, r := range leaves(text) {
		if len(s.providers(r)) == 0 {
			unusable = append(unusable, s.unusable.providers(r)...)
		}
	}
	s.miss(text, p.String(), unusable)
}

// leaves returns the relations in a rich dependency, none if it is malformed.
func leaves(text string) []Relation {
	e, err := parseRich(text)
	if err != nil {
		return nil
	}
	var out []Relation
	var walk func(expr)
	walk = func(e expr) {
		if e.op == "" {
			out = append(out, e.relation)
		}
		for _, operand := range e.operands {
			walk(operand)
		}
	}
	walk(e)
	return out
}

// fulfil takes packages so that e holds, and reports whether it can.
func (s *solver) fulfil(e expr) bool {
	switch e.op {
	case "":
		return s.require([]Relation{e.relation})
	case "and":
		ok := true
		for _, operand := range e.operands {
			ok = s.fulfil(operand) && ok
		}
		return ok
	case "or":
		for _, operand := range e.operands {
			if s.holds(operand) {
				return true
			}
		}
		for _, operand := range e.operands {
			if s.available(operand) && s.fulfil(operand) {
				return true
			}
		}
		return false
	case "with", "without":
		return s.fulfilWith(e)
	}
	return s.fulfilConditional(e)
}

// fulfilConditional handles "(a if b [else c])" and "(a unless b [else c])".
// What is installed on a host is not known here, so a and c are both taken as
// far as they can be had; Closure checks in the end that the dependency holds.
func (s *solver) fulfilConditional(e expr) bool {
	for i, operand := range e.operands {
		if i != 1 && s.available(operand) {
			s.fulfil(operand)
		}
	}
	return true
}

// checkRich reports rich dependencies that the chosen packages do not satisfy.
func (s *solver) checkRich() {
	for p := range s.chosen {
		for _, r := range p.Requires {
			if !r.isRich() {
				continue
			}
			if e, err := parseRich(r.Name); err != nil || !s.holds(e) {
				s.missRich(r.Name, p)
			}
		}
	}
}

// fulfilWith handles "(a with b)" and "(a without b)": one package does both.
func (s *solver) fulfilWith(e expr) bool {
	candidates := s.matching(e)
	for _, p := range candidates {
		if s.chosen[p] {
			return true
		}
	}
	p := s.best(e.operands[0].relation.Name, candidates)
	s.take(p)
	return p != nil
}

// matching returns the packages that a with/without expression or a leaf names.
func (s *solver) matching(e expr) []*Package {
	if e.op == "" {
		return s.providers(e.relation)
	}
	out := s.matching(e.operands[0])
	for _, operand := range e.operands[1:] {
		var keep []*Package
		others := s.matching(operand)
		for _, p := range out {
			inOthers := false
			for _, q := range others {
				inOthers = inOthers || p == q
			}
			if inOthers == (e.op == "with") {
				keep = append(keep, p)
			}
		}
		out = keep
	}
	return out
}

// holds reports whether the packages chosen so far fulfil e.
func (s *solver) holds(e expr) bool {
	return s.evaluate(e, func(p *Package) bool { return s.chosen[p] })
}

// available reports whether the repositories can fulfil e.
func (s *solver) available(e expr) bool {
	return s.evaluate(e, func(*Package) bool { return true })
}

func (s *solver) evaluate(e expr, have func(*Package) bool) bool {
	count := 0
	switch e.op {
	case "", "with", "without":
		for _, p := range s.matching(e) {
			if have(p) {
				return true
			}
		}
		return false
	case "and", "or":
		for _, operand := range e.operands {
			if s.evaluate(operand, have) {
				count++
			}
		}
		return count == len(e.operands) || e.op == "or" && count > 0
	}
	condition := s.evaluate(e.operands[1], have)
	if condition == (e.op == "if") {
		return s.evaluate(e.operands[0], have)
	}
	return len(e.operands) < 3 || s.evaluate(e.operands[2], have)
}
