package yum

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/closure"
	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/manifests"
)

// ClosureOptions limit the choice of Closure.
type ClosureOptions struct {
	Arch    string   // "x86_64" or "aarch64": only packages that run there are taken; if empty, all
	Exclude []string // globs (path.Match) on package names that are never taken
	// Present names packages that a host has, with all that they need: these are left out
	// unless they are asked for by name. A name that no repository has does not count.
	Present []string
}

// Closure returns the packages that names stand for and everything they
// require, sorted by name, version and architecture: installable on a host that
// has nothing but these. A name is a package's name, something provided, a file
// path, or name-version[-release][.arch].
//
// The choice depends on the metadata only. If several packages satisfy a
// requirement, Closure prefers one that is already chosen, then repositories of
// better priority, then the package that has the name of the requirement, then
// the shortest name, and of one name the host's own architecture and the newest
// version. If that leads to packages that exclude each other, the next ones are
// tried. Of a rich dependency "(a if b)" it takes a if nothing stands against it,
// since b may be on the host already. Weak dependencies are ignored.
//
// If nothing provides a requirement, the error lists all such requirements with
// the packages that need them, sorted. It gives the reason if the only packages
// that provide it are unusable, or if a file may be in a repository without
// filelists. If the packages cannot be installed together, it lists the
// requirements and conflicts that contradict each other.
func Closure(ctx context.Context, repos []*Repo, names []string, o ClosureOptions) ([]Package, error) {
	for _, glob := range o.Exclude {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("exclude %q: %w", glob, err)
		}
	}
	x := newIndex(ctx, repos, o)
	choices, err := closure.SolveBeside(ctx, x, x.wanted(names), x.wanted(o.Present))
	if err := errors.Join(x.err, x.explain(err)); err != nil {
		return nil, err
	}
	out := make([]Package, 0, len(choices))
	for _, c := range choices {
		p := *c.Package
		if c.By != nil {
			p.RequiredBy, p.Requirement = c.By.Name, c.Text
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Package) int {
		return compareNEVRA(a.NEVRA, b.NEVRA)
	})
	return out, nil
}

func compareNEVRA(a, b NEVRA) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	if c := a.Compare(b); c != 0 {
		return c
	}
	return strings.Compare(a.String(), b.String())
}

func (o ClosureOptions) takes(p *Package) bool {
	if o.Arch != "" && !runsOn(p.Arch, o.Arch) {
		return false
	}
	for _, glob := range o.Exclude {
		if ok, _ := path.Match(glob, p.Name); ok {
			return false
		}
	}
	return true
}

// runsOn reports whether hosts of an architecture run packages of another one.
func runsOn(arch, host string) bool {
	return arch == host || arch == "noarch" || host == "x86_64" && is32bit(arch)
}

func is32bit(arch string) bool { return len(arch) == 4 && arch[0] == 'i' && arch[2:] == "86" }

// wanted returns a need for each name that the caller gave.
func (x *index) wanted(names []string) []closure.Need[*Package] {
	var list []closure.Need[*Package]
	for _, name := range names {
		list = append(list, closure.Need[*Package]{Text: name, Any: x.candidates(name)})
	}
	return list
}

// candidates returns the packages for a name that the caller gave.
func (x *index) candidates(name string) []*Package {
	candidates := slices.Clone(x.called(name))
	// A package that replaces it under another name and still provides the name.
	for _, p := range x.providers(Relation{Name: name}) {
		if p.Name != name && x.replaces(p, candidates) {
			candidates = append(candidates, p)
		}
	}
	return x.ordered(name, candidates)
}

// replaces reports whether p obsoletes every one of the packages.
func (x *index) replaces(p *Package, packages []*Package) bool {
	for _, old := range packages {
		if !x.obsoleted(old, []*Package{p}) {
			return false
		}
	}
	return true
}

// Needs returns the requirements of p and its rich conflicts (closure.Rules). Of
// several requirements of one name (>= 1 and < 2), packages that meet all come
// first.
func (x *index) Needs(p *Package) []closure.Need[*Package] {
	same := map[string][]Relation{}
	for _, r := range p.Requires {
		same[r.Name] = append(same[r.Name], r)
	}
	var out []closure.Need[*Package]
	for _, r := range p.Requires {
		if r.isRich() {
			out = append(out, x.richNeeds(r.Name)...)
			continue
		}
		any := x.ordered(r.Name, x.providers(r))
		slices.SortStableFunc(any, func(a, b *Package) int {
			return -compareBool(a.satisfiesAll(same[r.Name]), b.satisfiesAll(same[r.Name]))
		})
		out = append(out, closure.Need[*Package]{Text: r.String(), Any: any})
	}
	for _, r := range p.Conflicts {
		if r.isRich() {
			out = append(out, x.richConflicts(p, r.Name)...)
		}
	}
	return out
}

func (p *Package) satisfiesAll(relations []Relation) bool {
	return !slices.ContainsFunc(relations, func(r Relation) bool { return !p.satisfies(r) })
}

// Excludes returns the other packages of p's name, unless both are of a
// different word size (multilib), and those that p conflicts with or obsoletes
// (closure.Rules).
func (x *index) Excludes(p *Package) []*Package {
	var out []*Package
	for _, q := range x.names[p.Name] {
		if q != p && !(is32bit(p.Arch) && q.Arch == "x86_64" || is32bit(q.Arch) && p.Arch == "x86_64") {
			out = append(out, q)
		}
	}
	for _, r := range p.Conflicts {
		if !r.isRich() {
			out = append(out, x.providers(r)...)
		}
	}
	for _, r := range p.Obsoletes {
		for _, q := range x.names[r.Name] {
			if r.matches(q.self()) {
				out = append(out, q)
			}
		}
	}
	return slices.DeleteFunc(out, func(q *Package) bool { return q == p })
}

// self returns the relation that every package provides: its name in its version.
func (n NEVRA) self() Relation {
	return Relation{Name: n.Name, Op: "=", Epoch: n.Epoch, Version: n.Version, Release: n.Release}
}

// explain turns a failure for want of packages into an error that lists every
// requirement that nothing provides.
func (x *index) explain(err error) error {
	failure, ok := errors.AsType[*closure.Failure[*Package]](err)
	if !ok || len(failure.Missing) == 0 {
		return err
	}
	byText := map[string]error{}
	for _, m := range failure.Missing {
		if byText[m.Need.Text] == nil {
			byText[m.Need.Text] = x.miss(m)
		}
	}
	errs := slices.Collect(maps.Values(byText))
	manifests.SortErrors(errs)
	return errors.Join(errs...)
}

// miss returns the error for a requirement that nothing provides, with the
// reason if an unusable package would.
func (x *index) miss(m closure.Miss[*Package]) error {
	by, requirement, unusable := "the list of packages", m.Need.Text, x.unusable.called(m.Need.Text)
	if m.By != nil {
		by, unusable = m.By.String(), x.unusableFor(m.By, requirement)
	}
	err := fmt.Errorf("%q, required by %q, is in no repository", requirement, by)
	switch odd := x.ordered(requirement, unusable); {
	case len(odd) > 0:
		p := odd[0]
		why := strings.ReplaceAll(p.Unusable.Error(), "\n", "; ")
		err = metadata.Classify(fmt.Errorf("%q, required by %q, is only in a package that cannot be used: yum repository %q: package %q: %s",
			requirement, by, p.Repo, p, why))
	case strings.HasPrefix(requirement, "/") && len(x.withoutFiles) > 0:
		err = fmt.Errorf("%w; without filelists: %s", err, strings.Join(x.withoutFiles, ", "))
	}
	return err
}

// unusableFor returns the unusable packages that provide a requirement of p, or a
// part of a rich one that no other package provides.
func (x *index) unusableFor(p *Package, requirement string) []*Package {
	var out []*Package
	for _, r := range p.Requires {
		switch {
		case r.String() != requirement:
		case !r.isRich():
			out = append(out, x.unusable.providers(r)...)
		default:
			for _, leaf := range leaves(r.Name) {
				if len(x.providers(leaf)) == 0 {
					out = append(out, x.unusable.providers(leaf)...)
				}
			}
		}
	}
	return out
}
