package yum

import (
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/closure"
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

// leaves returns the relations in a rich dependency, none if it is malformed, or
// the relation itself.
func (r Relation) leaves() []Relation {
	if !r.isRich() {
		return []Relation{r}
	}
	return leaves(r.Name)
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

// maxClauses bounds the normal form of one rich dependency.
const maxClauses = 10_000

// richNeeds returns the conjunctive normal form of a rich dependency, and its
// conditional parts as wishes: "(a if b)" wishes for a, since b may be on a host.
func (x *index) richNeeds(text string) []closure.Need[*Package] {
	e, err := parseRich(text)
	if err != nil {
		return []closure.Need[*Package]{{Text: text}}
	}
	needs := x.normal(e, true)
	for _, wish := range conditional(e) {
		for _, n := range x.normal(wish, true) {
			n.Wish = true
			needs = append(needs, n)
		}
	}
	for i := range needs {
		needs[i].Text = text
	}
	return needs
}

// richConflicts returns the opposite of a rich conflict of p. As in libsolv
// (add_complex_deprules in src/rules.c), p does not conflict with itself alone, but
// counts beside other packages: if b has the conflict "(b or a)" it excludes a only,
// and so it does with "(b and a)".
func (x *index) richConflicts(p *Package, text string) []closure.Need[*Package] {
	e, err := parseRich(text)
	if err != nil {
		return nil
	}
	var needs []closure.Need[*Package]
	for _, n := range x.normal(e, false) {
		n.Text, n.Conflict = text, len(n.Any) == 0
		if !n.Conflict || len(n.If) != 1 || n.If[0] != p {
			needs = append(needs, n)
		}
	}
	return needs
}

// conditional returns the operands that a rich dependency needs only on a
// condition.
func conditional(e expr) []expr {
	var out []expr
	for i, operand := range e.operands {
		switch e.op {
		case "if", "unless":
			if i == 1 {
				continue
			}
			out = append(out, operand)
		}
		out = append(out, conditional(operand)...)
	}
	return out
}

// normal returns e, or its opposite, as a conjunction of clauses, each of which
// holds if a package of If is not chosen or one of Any is. No clause means that e
// holds always. As libsolv does, "a if b" is read as "a or not b", and "a unless
// b" as "a and not b".
func (x *index) normal(e expr, positive bool) []closure.Need[*Package] {
	part := func(i int) []closure.Need[*Package] { return x.normal(e.operands[i], positive) }
	switch e.op {
	case "", "with", "without":
		return x.leaf(e, positive)
	case "and", "or":
		out := part(0)
		for i := range e.operands[1:] {
			if (e.op == "and") == positive {
				out = append(out, part(i+1)...)
			} else {
				out = distribute(out, part(i+1))
			}
		}
		return out
	}
	// "if" and "unless" choose one of two by the condition.
	condition, opposite := x.normal(e.operands[1], true), x.normal(e.operands[1], false)
	if e.op == "unless" {
		condition, opposite = opposite, condition
	}
	if len(e.operands) == 3 {
		return append(distribute(part(0), opposite), distribute(part(2), condition)...)
	}
	if (e.op == "if") == positive {
		return distribute(part(0), opposite)
	}
	return append(part(0), condition...)
}

// leaf returns the clauses for a choice of packages: one of them, or none.
func (x *index) leaf(e expr, positive bool) []closure.Need[*Package] {
	first := e
	for first.op != "" {
		first = first.operands[0]
	}
	packages := x.ordered(first.relation.Name, x.matching(e))
	if positive {
		return []closure.Need[*Package]{{Any: packages}}
	}
	var out []closure.Need[*Package]
	for _, p := range packages {
		out = append(out, closure.Need[*Package]{If: []*Package{p}})
	}
	return out
}

// distribute returns the conjunction that holds if one of two does.
func distribute(a, b []closure.Need[*Package]) []closure.Need[*Package] {
	if len(a)*len(b) > maxClauses {
		return []closure.Need[*Package]{{}} // holds never
	}
	var out []closure.Need[*Package]
	for _, m := range a {
		for _, n := range b {
			c := closure.Need[*Package]{If: union(m.If, n.If), Any: union(m.Any, n.Any)}
			if !slices.ContainsFunc(c.Any, func(p *Package) bool { return slices.Contains(c.If, p) }) {
				out = append(out, c)
			}
		}
	}
	return out
}

// union returns a and the packages of b that a lacks.
func union(a, b []*Package) []*Package {
	out := slices.Clone(a)
	for _, p := range b {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// matching returns the packages that a with/without expression or a leaf names.
func (x *index) matching(e expr) []*Package {
	if e.op == "" {
		return x.providers(e.relation)
	}
	out := x.matching(e.operands[0])
	for _, operand := range e.operands[1:] {
		others := x.matching(operand)
		out = slices.DeleteFunc(out, func(p *Package) bool { return slices.Contains(others, p) != (e.op == "with") })
	}
	return out
}
