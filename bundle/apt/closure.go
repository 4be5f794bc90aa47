package apt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"

	"github.com/offk8s/offk8s/bundle/closure"
	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/manifests"
)

// ClosureOptions limit the choice of Closure.
type ClosureOptions struct {
	Arch    string   // "amd64" or "arm64": only this and all are taken; if empty, every one
	Exclude []string // globs (path.Match) on package names that are never taken
	// Present names packages that a host has, with all that they need: these are left out
	// unless they are asked for by name. A name that no repository has does not count.
	Present []string
}

// Closure returns names and everything they depend on or pre-depend on, sorted
// by name and version, as apt would download them on a machine without packages.
// A name is a package's name or, failing that, a virtual one.
//
// The choice depends on the indexes only: the newest version over all suites; of
// alternatives one that is already chosen, else the first; of several providers
// the one of the highest priority field, then the alphabetically first. If that
// leads to packages that conflict, the next ones are tried. Recommends are ignored.
//
// If nothing provides a dependency, the error lists all such dependencies with
// the packages that need them, sorted. If the packages cannot be installed
// together, it lists the dependencies and conflicts that contradict each other.
func Closure(ctx context.Context, suites []*Suite, names []string, o ClosureOptions) ([]Package, error) {
	for _, glob := range o.Exclude {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("exclude %q: %w", glob, err)
		}
	}
	return newIndex(suites, o).closure(ctx, names, o.Present)
}

func (x *index) closure(ctx context.Context, names, present []string) ([]Package, error) {
	choices, err := closure.SolveBeside(ctx, x, x.wanted(names), x.wanted(present))
	if err != nil {
		return nil, x.explain(err)
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
		return cmp.Or(strings.Compare(a.Name, b.Name), version.Compare(a.version, b.version))
	})
	return out, nil
}

// wanted returns a need for each name that the caller gave.
func (x *index) wanted(names []string) []closure.Need[*Package] {
	var list []closure.Need[*Package]
	for _, name := range names {
		list = append(list, closure.Need[*Package]{Text: name, Any: x.candidates(dependency.Possibility{Name: name})})
	}
	return list
}

// index finds the packages of suites by name.
type index struct {
	names    map[string][]*Package // newest first
	provides map[string][]provider
	// unusable holds the packages that are never taken, for messages; nil in itself.
	unusable *index
}

type provider struct {
	pkg     *Package
	version *version.Version // nil: provided without a version
}

func emptyIndex() *index {
	return &index{names: map[string][]*Package{}, provides: map[string][]provider{}}
}

func newIndex(suites []*Suite, o ClosureOptions) *index {
	x := emptyIndex()
	x.unusable = emptyIndex()
	for _, suite := range suites {
		for i := range suite.Packages {
			switch p := &suite.Packages[i]; {
			case !o.takes(p):
			case p.Unusable != nil:
				x.unusable.add(p)
			default:
				x.add(p)
			}
		}
	}
	for _, list := range x.names {
		slices.SortStableFunc(list, func(a, b *Package) int { return version.Compare(b.version, a.version) })
	}
	return x
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

func (x *index) add(p *Package) {
	x.names[p.Name] = append(x.names[p.Name], p)
	for _, v := range possibilities(p.provides) {
		x.provides[v.Name] = append(x.provides[v.Name], provider{pkg: p, version: providedVersion(v)})
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

// Needs returns the dependencies of p (closure.Rules).
func (x *index) Needs(p *Package) []closure.Need[*Package] {
	if p.depends == "" {
		return nil
	}
	relations, err := parseDependency(p.depends)
	if err != nil {
		return []closure.Need[*Package]{{Text: p.depends}}
	}
	out := make([]closure.Need[*Package], 0, len(relations))
	for _, r := range relations {
		out = append(out, x.need(r))
	}
	return out
}

func (x *index) need(r dependency.Relation) closure.Need[*Package] {
	n := closure.Need[*Package]{Text: r.String()}
	for _, a := range r.Possibilities {
		n.Any = append(n.Any, x.candidates(a)...)
	}
	return n
}

// Excludes returns the other versions of p and the packages that it conflicts
// with or breaks, but never p itself (closure.Rules; policy 7.4).
func (x *index) Excludes(p *Package) []*Package {
	out := slices.Clone(x.names[p.Name])
	for _, c := range possibilities(p.conflicts) {
		out = append(out, x.named(c)...)
		for _, v := range x.provides[c.Name] {
			if fits(c, v.pkg, v.version) && v.pkg.Name != p.Name {
				out = append(out, v.pkg)
			}
		}
	}
	return slices.DeleteFunc(out, func(q *Package) bool { return q == p })
}

// explain turns a failure for want of packages into an error that lists every
// dependency that nothing provides.
func (x *index) explain(err error) error {
	failure, ok := errors.AsType[*closure.Failure[*Package]](err)
	if !ok || len(failure.Missing) == 0 {
		return err
	}
	var errs []error
	for _, m := range failure.Missing {
		errs = append(errs, x.miss(m))
	}
	manifests.SortErrors(errs)
	return errors.Join(errs...)
}

// miss returns the error for a dependency that nothing provides, with the reason
// if an unusable package would.
func (x *index) miss(m closure.Miss[*Package]) error {
	by, alternatives := "the list of packages", []dependency.Possibility{{Name: m.Need.Text}}
	if m.By != nil {
		relations, err := parseDependency(m.Need.Text)
		if err != nil {
			return metadata.Classify(fmt.Errorf("apt suite %q: package %q: %w", m.By.Suite, m.By, err))
		}
		by, alternatives = m.By.String(), relations[0].Possibilities
	}
	for _, a := range alternatives {
		odd := slices.DeleteFunc(slices.Clone(x.unusable.names[a.Name]), func(p *Package) bool {
			return p.version != (version.Version{}) && !satisfied(a.Version, &p.version)
		})
		for _, p := range append(odd, x.unusable.candidates(a)...) {
			return metadata.Classify(fmt.Errorf("%q, needed by %q, is only in a package that cannot be used: apt suite %q: package %q: %w",
				m.Need.Text, by, p.Suite, p, p.Unusable))
		}
	}
	return fmt.Errorf("%q, needed by %q, is in no suite", m.Need.Text, by)
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
// Real packages come before providers.
func (x *index) candidates(a dependency.Possibility) []*Package {
	out := x.named(a)
	var providers []*Package
	for _, v := range x.provides[a.Name] {
		// Only the newest of a name stands for it, as apt would install that.
		newest := x.names[v.pkg.Name][0] == v.pkg
		if newest && fits(a, v.pkg, v.version) && !slices.Contains(out, v.pkg) && !slices.Contains(providers, v.pkg) {
			providers = append(providers, v.pkg)
		}
	}
	slices.SortStableFunc(providers, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(rank(a.priority), rank(b.priority)), strings.Compare(a.Name, b.Name))
	})
	return append(out, providers...)
}

// named returns the packages that have the name of a possibility.
func (x *index) named(a dependency.Possibility) []*Package {
	var out []*Package
	for _, p := range x.names[a.Name] {
		if fits(a, p, &p.version) {
			out = append(out, p)
		}
	}
	return out
}

// fits reports whether p, which has or provides the name of a possibility in a
// version, is meant by it. "name:arch" means that architecture, "name:any" any.
func fits(a dependency.Possibility, p *Package, v *version.Version) bool {
	return (a.Arch == nil || a.Arch.CPU == "any" || a.Arch.String() == p.Arch) && satisfied(a.Version, v)
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
