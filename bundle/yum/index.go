package yum

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
)

// index finds the packages of several repositories by name, by requirement and
// by file.
type index struct {
	packages []*Package
	names    map[string][]*Package // by package name
	provides map[string][]provider // by provided name
	files    map[string][]*Package
	// obsoletes by the obsoleted package's name.
	obsoletes map[string][]provider

	// loadFiles adds the files that primary does not list; nil once it ran.
	loadFiles func() error
	err       error  // of loadFiles
	arch      string // of the hosts, or empty
	// withoutFiles are the ids of the repositories without filelists, after loadFiles.
	withoutFiles []string
	// unusable holds the packages that are never taken, for messages; nil in itself.
	unusable *index
}

type provider struct {
	pkg      *Package
	relation Relation
}

func emptyIndex() *index {
	return &index{
		names: map[string][]*Package{}, provides: map[string][]provider{},
		files: map[string][]*Package{}, obsoletes: map[string][]provider{},
	}
}

// newIndex indexes the packages that may be taken.
func newIndex(ctx context.Context, repos []*Repo, o ClosureOptions) *index {
	x := emptyIndex()
	x.unusable = emptyIndex()
	x.arch = o.Arch
	hidden := hiddenByModules(repos)
	for _, r := range repos {
		for i := range r.Packages {
			switch p := &r.Packages[i]; {
			case !o.takes(p):
			case p.Unusable != nil:
				x.unusable.add(p)
			case hidden[p] != nil:
				q := *p
				q.Unusable = hidden[p]
				x.unusable.add(&q)
			default:
				x.add(p)
			}
		}
	}
	x.loadFiles = func() error { return x.addFiles(ctx, repos) }
	return x
}

// addFiles adds the files that filelists name. A repository without filelists
// has no more files than its primary lists.
func (x *index) addFiles(ctx context.Context, repos []*Repo) error {
	wanted := missingFiles(repos)
	var errs []error
	for _, r := range repos {
		switch {
		case r.md == nil:
		case !r.md.has(kindFilelists):
			x.withoutFiles = append(x.withoutFiles, r.ID)
		default:
			errs = append(errs, r.addFiles(ctx, wanted))
		}
	}
	for _, side := range []*index{x, x.unusable} {
		for _, p := range side.packages {
			for _, f := range p.Files {
				if wanted[f] {
					side.files[f] = append(side.files[f], p)
				}
			}
		}
	}
	return errors.Join(errs...)
}

func (x *index) add(p *Package) {
	x.packages = append(x.packages, p)
	x.names[p.Name] = append(x.names[p.Name], p)
	for _, r := range p.Provides {
		x.provides[r.Name] = append(x.provides[r.Name], provider{p, r})
	}
	for _, f := range p.Files {
		x.files[f] = append(x.files[f], p)
	}
	for _, r := range p.Obsoletes {
		x.obsoletes[r.Name] = append(x.obsoletes[r.Name], provider{p, r})
	}
}

// missingFiles returns the file dependencies that neither primary's file lists
// nor provides answer.
func missingFiles(repos []*Repo) map[string]bool {
	have, wanted := map[string]bool{}, map[string]bool{}
	for _, r := range repos {
		for i := range r.Packages {
			p := &r.Packages[i]
			if p.Unusable != nil {
				continue
			}
			for _, f := range p.Files {
				have[f] = true
			}
			for _, v := range p.Provides {
				if strings.HasPrefix(v.Name, "/") {
					have[v.Name] = true
				}
			}
		}
	}
	for _, r := range repos {
		for i := range r.Packages {
			p := &r.Packages[i]
			for _, v := range slices.Concat(p.Requires, p.Conflicts) {
				for _, leaf := range v.leaves() {
					if strings.HasPrefix(leaf.Name, "/") && !have[leaf.Name] {
						wanted[leaf.Name] = true
					}
				}
			}
		}
	}
	return wanted
}

// providers returns the packages that satisfy r, without order or duplicates.
func (x *index) providers(r Relation) []*Package {
	var out []*Package
	for _, p := range x.provides[r.Name] {
		if r.matches(p.relation) && !slices.Contains(out, p.pkg) {
			out = append(out, p.pkg)
		}
	}
	if strings.HasPrefix(r.Name, "/") {
		if len(out) == 0 && len(x.files[r.Name]) == 0 && x.loadFiles != nil {
			x.err = x.loadFiles()
			x.loadFiles = nil
		}
		for _, p := range x.files[r.Name] {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// called returns the packages that a name of the caller stands for: a package's
// name, failing that something provided, failing that name-version[-release][.arch].
func (x *index) called(name string) []*Package {
	if list := x.names[name]; len(list) > 0 {
		return list
	}
	if list := x.providers(Relation{Name: name}); len(list) > 0 {
		return list
	}
	var out []*Package
	for _, p := range x.packages {
		full := p.Name + "-" + p.Version
		if slices.Contains([]string{
			p.Name + "." + p.Arch, full, full + "-" + p.Release, full + "-" + p.Release + "." + p.Arch, p.String(),
		}, name) {
			out = append(out, p)
		}
	}
	return out
}

// satisfies reports whether p alone provides r.
func (p *Package) satisfies(r Relation) bool {
	for _, v := range p.Provides {
		if r.matches(v) {
			return true
		}
	}
	return strings.HasPrefix(r.Name, "/") && slices.Contains(p.Files, r.Name)
}

// Modular reports whether p belongs to a module stream (EL8), which its release
// shows. If the repository does not describe its modules, such a package is only taken if
// there is no other.
func (p *Package) Modular() bool { return strings.Contains(p.Release, ".module") }

// ordered sorts the candidates for a requirement called name: not obsoleted, not
// modular, best repository priority, called as the requirement, the shortest and
// alphabetically first name, the architecture of the hosts, the newest version.
func (x *index) ordered(name string, candidates []*Package) []*Package {
	obsoleted := map[*Package]bool{}
	for _, p := range candidates {
		obsoleted[p] = x.obsoleted(p, candidates)
	}
	slices.SortFunc(candidates, func(a, b *Package) int {
		return cmp.Or(
			compareBool(obsoleted[a], obsoleted[b]),
			compareBool(a.Modular(), b.Modular()),
			cmp.Compare(a.priority, b.priority),
			-compareBool(a.Name == name, b.Name == name),
			cmp.Compare(len(a.Name), len(b.Name)),
			cmp.Compare(a.Name, b.Name),
			compareBool(is32bit(a.Arch) && x.arch != a.Arch, is32bit(b.Arch) && x.arch != b.Arch),
			-a.Compare(b.NEVRA),
			-compareBool(a.Arch != "noarch", b.Arch != "noarch"),
			cmp.Compare(a.Repo, b.Repo),
			cmp.Compare(a.Location, b.Location),
		)
	})
	return candidates
}

// obsoleted reports whether another candidate obsoletes p.
func (x *index) obsoleted(p *Package, candidates []*Package) bool {
	self := p.self()
	for _, o := range x.obsoletes[p.Name] {
		if o.pkg.Name != p.Name && o.relation.matches(self) && slices.Contains(candidates, o.pkg) {
			return true
		}
	}
	return false
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
