package yum

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/manifests"
)

// ClosureOptions limit the choice of Closure.
type ClosureOptions struct {
	Arch    string   // "x86_64" or "aarch64": only this and noarch are taken; if empty, all
	Exclude []string // globs (path.Match) on package names that are never taken
}

// Closure returns the packages that names stand for and everything they
// require, sorted by name, version and architecture: installable on a host that
// has nothing but these. A name is a package's name, something provided, a file
// path, or name-version[-release][.arch].
//
// The choice depends on the metadata only. If several packages satisfy a
// requirement, Closure prefers one that is already chosen, then repositories of
// better priority, then the package that has the name of the requirement, then
// the shortest name, and of one name the newest version. Of a rich
// dependency "(a if b)" it takes a if some package provides it, since b may be
// on the host already. Weak dependencies are ignored. Conflicting
// packages are avoided if there is a choice.
//
// If nothing provides a requirement, the error lists all such requirements with
// the packages that need them, sorted. It gives the reason if the only packages
// that provide it are unusable, or if a file may be in a repository without filelists.
func Closure(ctx context.Context, repos []*Repo, names []string, o ClosureOptions) ([]Package, error) {
	for _, glob := range o.Exclude {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("exclude %q: %w", glob, err)
		}
	}
	s := &solver{index: newIndex(ctx, repos, o.takes), chosen: map[*Package]bool{}, missing: map[string]error{}, against: map[string][]provider{}, why: map[*Package]reason{}}
	for _, name := range names {
		s.want(name)
	}
	for len(s.queue) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := s.queue[0]
		s.queue = s.queue[1:]
		s.requireAll(p)
	}
	s.checkRich()
	if err := errors.Join(s.err, s.unresolved()); err != nil {
		return nil, err
	}
	out := make([]Package, 0, len(s.chosen))
	for p := range s.chosen {
		c := *p
		c.RequiredBy, c.Requirement = s.why[p].by, s.why[p].requirement
		out = append(out, c)
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
	if o.Arch != "" && p.Arch != o.Arch && p.Arch != "noarch" {
		return false
	}
	for _, glob := range o.Exclude {
		if ok, _ := path.Match(glob, p.Name); ok {
			return false
		}
	}
	return true
}

// solver is one run of Closure.
type solver struct {
	*index
	chosen  map[*Package]bool
	queue   []*Package            // chosen, requirements not yet looked at
	missing map[string]error      // by requirement
	against map[string][]provider // conflicts of the chosen, by name
	now     reason                // under examination
	why     map[*Package]reason   // of the chosen
}

// reason is a requirement of a package; the zero value is the caller's list.
type reason struct{ by, requirement string }

// take adds p to the result, unless it is nil or already chosen.
func (s *solver) take(p *Package) {
	if p != nil && !s.chosen[p] {
		s.chosen[p] = true
		s.why[p] = s.now
		s.queue = append(s.queue, p)
		for _, r := range p.Conflicts {
			s.against[r.Name] = append(s.against[r.Name], provider{p, r})
		}
	}
}

// want takes the best package for a name that the caller gave.
func (s *solver) want(name string) {
	candidates := s.called(name)
	// A package that replaces it under another name and still provides the name.
	for _, p := range s.providers(Relation{Name: name}) {
		if p.Name != name && s.replaces(p, candidates) {
			candidates = append(slices.Clone(candidates), p)
		}
	}
	if p := s.best(name, candidates); p != nil {
		s.take(p)
		return
	}
	s.miss(name, "the list of packages", s.unusable.called(name))
}

// miss records that nothing provides the requirement of a package or list, and
// the reason if an unusable package would.
func (s *solver) miss(requirement, by string, unusable []*Package) {
	err := fmt.Errorf("%q, required by %q, is in no repository", requirement, by)
	switch p := s.best(requirement, unusable); {
	case p != nil:
		why := strings.ReplaceAll(p.Unusable.Error(), "\n", "; ")
		err = metadata.Classify(fmt.Errorf("%q, required by %q, is only in a package that cannot be used: yum repository %q: package %q: %s",
			requirement, by, p.Repo, p, why))
	case strings.HasPrefix(requirement, "/") && len(s.withoutFiles) > 0:
		err = fmt.Errorf("%w; without filelists: %s", err, strings.Join(s.withoutFiles, ", "))
	}
	s.missing[requirement] = err
}

// replaces reports whether p obsoletes every one of the packages.
func (s *solver) replaces(p *Package, packages []*Package) bool {
	for _, old := range packages {
		if !s.obsoleted(old, []*Package{p}) {
			return false
		}
	}
	return true
}

// requireAll takes the packages that p requires. Several requirements of one name (>= 1 and
// < 2) must be met by one package.
func (s *solver) requireAll(p *Package) {
	byName := map[string][]Relation{}
	var order []string
	for _, r := range p.Requires {
		if byName[r.Name] == nil {
			order = append(order, r.Name)
		}
		byName[r.Name] = append(byName[r.Name], r)
	}
	for _, name := range order {
		relations := byName[name]
		s.now = reason{p.Name, relations[0].String()}
		if relations[0].isRich() {
			s.requireRich(p, name)
			continue
		}
		if !s.require(relations) {
			s.miss(relations[0].String(), p.String(), s.unusable.providers(relations[0]))
		}
	}
}

// require takes a package that satisfies all relations, unless one is chosen
// already; failing that, packages that satisfy them one by one.
func (s *solver) require(relations []Relation) bool {
	all := s.satisfying(relations)
	for _, p := range all {
		if s.chosen[p] {
			return true
		}
	}
	if len(all) == 0 && len(relations) > 1 {
		for i := range relations {
			if !s.require(relations[i : i+1]) {
				return false
			}
		}
		return true
	}
	if len(all) > 1 {
		all = preferred(all, func(p *Package) bool { return !s.conflicts(p) })
	}
	p := s.best(relations[0].Name, all)
	s.take(p)
	return p != nil
}

// satisfying returns the packages that satisfy all relations.
func (s *solver) satisfying(relations []Relation) []*Package {
	all := s.providers(relations[0])
	for _, r := range relations[1:] {
		all = slices.DeleteFunc(all, func(p *Package) bool { return !p.satisfies(r) })
	}
	return all
}

// conflicts reports whether p and a chosen package exclude each other. Rich
// conflicts and those with files are not looked at.
func (s *solver) conflicts(p *Package) bool {
	for _, r := range p.Conflicts {
		for _, v := range s.provides[r.Name] {
			if s.chosen[v.pkg] && v.pkg != p && r.matches(v.relation) {
				return true
			}
		}
	}
	for _, v := range p.Provides {
		for _, c := range s.against[v.Name] {
			if c.pkg != p && c.relation.matches(v) {
				return true
			}
		}
	}
	return false
}

func (s *solver) unresolved() error {
	errs := slices.Collect(maps.Values(s.missing))
	manifests.SortErrors(errs)
	return errors.Join(errs...)
}
