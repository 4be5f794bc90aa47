package apt

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/manifests"
)

// ClosureOptions limit the choice of Closure.
type ClosureOptions struct {
	Arch    string   // "amd64" or "arm64": only this and all are taken; if empty, every one
	Exclude []string // globs (path.Match) on package names that are never taken
}

// Closure returns names and everything they depend on or pre-depend on, sorted
// by name and version, as apt would download them on a machine without packages.
// A name is a package's name or, failing that, a virtual one.
//
// The choice depends on the indexes only: the newest version over all suites; of
// alternatives one that is already chosen, else the first that is available; of
// several providers the one of the highest priority field, then the
// alphabetically first. Packages that conflict with a chosen one are avoided if
// there is a choice. Recommends are ignored.
//
// If nothing provides a dependency, the error lists all such dependencies with
// the packages that need them, sorted.
func Closure(suites []*Suite, names []string, o ClosureOptions) ([]Package, error) {
	for _, glob := range o.Exclude {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("exclude %q: %w", glob, err)
		}
	}
	s := newSolver(suites, o)
	for _, name := range names {
		wanted := []dependency.Possibility{{Name: name}}
		if !s.satisfy(wanted) {
			s.miss(name, "the list of packages", wanted)
		}
	}
	for len(s.queue) > 0 {
		p := s.queue[0]
		s.queue = s.queue[1:]
		s.dependAll(p)
	}
	if err := s.unresolved(); err != nil {
		return nil, err
	}
	out := make([]Package, 0, len(s.chosen))
	for p := range s.chosen {
		c := *p
		c.RequiredBy, c.Requirement = s.why[p].by, s.why[p].requirement
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), version.Compare(a.version, b.version))
	})
	return out, nil
}

type solver struct {
	names    map[string][]*Package // newest first
	provides map[string][]provider
	chosen   map[*Package]bool
	against  map[string][]conflict // conflicts and breaks of the chosen, by name
	queue    []*Package
	missing  map[string]error // by dependency
	now      reason           // under examination
	why      map[*Package]reason
	// unusable holds the packages that are never taken, for messages; nil in itself.
	unusable *solver
}

// reason is a dependency of a package; the zero value is the caller's list.
type reason struct{ by, requirement string }

type conflict struct {
	pkg  *Package
	with *dependency.VersionRelation
}

type provider struct {
	pkg     *Package
	version *version.Version // nil: provided without a version
}

func emptySolver() *solver {
	return &solver{
		names: map[string][]*Package{}, provides: map[string][]provider{},
		chosen: map[*Package]bool{}, missing: map[string]error{}, against: map[string][]conflict{}, why: map[*Package]reason{},
	}
}

func newSolver(suites []*Suite, o ClosureOptions) *solver {
	s := emptySolver()
	s.unusable = emptySolver()
	for _, suite := range suites {
		for i := range suite.Packages {
			switch p := &suite.Packages[i]; {
			case !o.takes(p):
			case p.Unusable != nil:
				s.unusable.add(p)
			default:
				s.add(p)
			}
		}
	}
	for _, list := range s.names {
		slices.SortStableFunc(list, func(a, b *Package) int { return version.Compare(b.version, a.version) })
	}
	return s
}

func (o ClosureOptions) takes(p *Package) bool {
	if o.Arch != "" && p.Arch != o.Arch && p.Arch != "all" {
		return false
	}
	for _, glob := range o.Exclude {
		if ok, _ := path.Match(glob, p.Name); ok {
			return false
		}
	}
	return true
}

func (s *solver) add(p *Package) {
	s.names[p.Name] = append(s.names[p.Name], p)
	for _, v := range possibilities(p.provides) {
		s.provides[v.Name] = append(s.provides[v.Name], provider{pkg: p, version: providedVersion(v)})
	}
}

// parseDependency parses a relationship field (Debian policy 7.1).
func parseDependency(text string) ([]dependency.Relation, error) {
	d, err := dependency.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("relationship %.80q: %w", text, err)
	}
	return d.Relations, nil
}

func (s *solver) dependAll(p *Package) {
	if p.depends == "" {
		return
	}
	relations, err := parseDependency(p.depends)
	if err != nil {
		s.missing[p.String()] = metadata.Classify(fmt.Errorf("apt suite %q: package %q: %w", p.Suite, p, err))
	}
	for _, relation := range relations {
		s.now = reason{p.Name, relation.String()}
		if !s.satisfy(relation.Possibilities) {
			s.miss(relation.String(), p.String(), relation.Possibilities)
		}
	}
}

// miss records that nothing provides a dependency, and the reason if an unusable
// package would.
func (s *solver) miss(dependency, by string, alternatives []dependency.Possibility) {
	s.missing[dependency] = fmt.Errorf("%q, needed by %q, is in no suite", dependency, by)
	for _, a := range alternatives {
		odd := slices.DeleteFunc(slices.Clone(s.unusable.names[a.Name]), func(p *Package) bool {
			return p.version != (version.Version{}) && !satisfied(a.Version, &p.version)
		})
		for _, p := range append(odd, s.unusable.candidates(a)...) {
			s.missing[dependency] = metadata.Classify(fmt.Errorf("%q, needed by %q, is only in a package that cannot be used: apt suite %q: package %q: %w",
				dependency, by, p.Suite, p, p.Unusable))
			return
		}
	}
}

// satisfy takes a package for the first of the alternatives that can be had
// without a conflict, else the first that can be had at all, unless a chosen
// one satisfies any of them.
func (s *solver) satisfy(alternatives []dependency.Possibility) bool {
	var all []*Package
	for _, a := range alternatives {
		all = append(all, s.candidates(a)...)
	}
	if len(all) == 0 {
		return false
	}
	for _, p := range all {
		if s.chosen[p] {
			return true
		}
	}
	p := all[0]
	if len(all) > 1 {
		if i := slices.IndexFunc(all, func(p *Package) bool { return !s.conflicts(p) }); i >= 0 {
			p = all[i]
		}
	}
	s.take(p)
	return true
}

func (s *solver) take(p *Package) {
	s.chosen[p] = true
	s.why[p] = s.now
	s.queue = append(s.queue, p)
	for _, c := range possibilities(p.conflicts) {
		s.against[c.Name] = append(s.against[c.Name], conflict{p, c.Version})
	}
}

// possibilities returns every possibility of a field in one list; none of a
// field that cannot be parsed.
func possibilities(text string) []dependency.Possibility {
	if text == "" {
		return nil
	}
	relations, err := parseDependency(text)
	if err != nil {
		return nil
	}
	var out []dependency.Possibility
	for _, r := range relations {
		out = append(out, r.Possibilities...)
	}
	return out
}

// candidates returns the packages for one alternative in order of preference.
// Real packages come before providers. An architecture qualifier (":any")
// makes no difference in a repository of one architecture.
func (s *solver) candidates(a dependency.Possibility) []*Package {
	var out []*Package
	for _, p := range s.names[a.Name] {
		if satisfied(a.Version, &p.version) {
			out = append(out, p)
		}
	}
	var providers []*Package
	for _, v := range s.provides[a.Name] {
		// Only the newest of a name stands for it, as apt would install that.
		newest := s.names[v.pkg.Name][0] == v.pkg
		if newest && satisfied(a.Version, v.version) && !slices.Contains(out, v.pkg) && !slices.Contains(providers, v.pkg) {
			providers = append(providers, v.pkg)
		}
	}
	slices.SortStableFunc(providers, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(rank(a.priority), rank(b.priority)), strings.Compare(a.Name, b.Name))
	})
	return append(out, providers...)
}

// conflicts reports whether p and a chosen package exclude each other.
func (s *solver) conflicts(p *Package) bool {
	for _, c := range possibilities(p.conflicts) {
		for _, q := range s.names[c.Name] {
			if s.chosen[q] && q.Name != p.Name && satisfied(c.Version, &q.version) {
				return true
			}
		}
		for _, v := range s.provides[c.Name] {
			if s.chosen[v.pkg] && v.pkg.Name != p.Name && satisfied(c.Version, v.version) {
				return true
			}
		}
	}
	if s.excludes(p, p.Name, &p.version) {
		return true
	}
	for _, v := range possibilities(p.provides) {
		if s.excludes(p, v.Name, providedVersion(v)) {
			return true
		}
	}
	return false
}

// excludes reports whether a chosen package conflicts with the given name and version of p.
func (s *solver) excludes(p *Package, name string, v *version.Version) bool {
	for _, c := range s.against[name] {
		if c.pkg.Name != p.Name && satisfied(c.with, v) {
			return true
		}
	}
	return false
}

// providedVersion returns the version that something is provided in, or nil.
func providedVersion(p dependency.Possibility) *version.Version {
	if p.Version == nil {
		return nil
	}
	v, err := version.Parse(p.Version.Number)
	if err != nil {
		return nil
	}
	return &v
}

// satisfied reports whether have is in the wanted range; something provided
// without a version satisfies only a relation without one (policy 7.5).
func satisfied(want *dependency.VersionRelation, have *version.Version) bool {
	if want == nil {
		return true
	}
	number, err := version.Parse(want.Number)
	if err != nil || have == nil {
		return false
	}
	c := version.Compare(*have, number)
	switch want.Operator {
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case "<=":
		return c <= 0
	case ">>":
		return c > 0
	case "<<":
		return c < 0
	}
	return false
}

// rank orders the priority field (policy 2.5).
func rank(priority string) int {
	if i := slices.Index([]string{"required", "important", "standard", "optional"}, priority); i >= 0 {
		return i
	}
	return 4
}

func (s *solver) unresolved() error {
	errs := slices.Collect(maps.Values(s.missing))
	manifests.SortErrors(errs)
	return errors.Join(errs...)
}
