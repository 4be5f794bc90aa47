package catalog

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/offk8s/offk8s/manifests/strict"
)

//go:embed addons cni distro dns keys kubernetes
var embedded embed.FS

// embeddedName is the directory of the embedded catalog in messages.
const embeddedName = "catalog"

// maxCatalogFile is the largest size of a file in a catalog.
const maxCatalogFile = 1 << 20

// Embedded returns the built-in catalog.
func Embedded() (*Catalog, error) {
	c := &Catalog{}
	if err := c.merge(embedded, embeddedName); err != nil {
		return nil, err
	}
	return c, nil
}

// Overlay merges the catalog entries under dir over c. dir has the layout
// of the embedded catalog: kubernetes/<minor>.yaml, cni/<name>/cni.yaml and
// addons/<name>/addon.yaml and the templates beside them, distro/<name>.yaml, dns/coredns.yaml, keys/<file>.asc.
// An existing entry is merged field by field (components by name,
// yum repositories by id, versions of a pod network by from; other lists are
// replaced; ~ empties a field), a new name adds an entry. If the ref of an
// image changes, its digest must change too, or be ~. On error c is unchanged.
// The error is a *strict.Error with every problem, unless dir cannot be read.
func (c *Catalog) Overlay(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open catalog: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("open catalog: %q is not a directory", dir)
	}
	return c.merge(os.DirFS(dir), dir)
}

// loader merges the files of one directory over a copy of a catalog.
type loader struct {
	to       Catalog
	changed  map[string]Release // releases that this directory adds or changes
	name     string             // of the directory, for messages
	docs     map[string]*strict.Document
	problems []strict.Problem
}

func (c *Catalog) merge(root fs.FS, name string) error {
	l := &loader{name: name, docs: map[string]*strict.Document{}, changed: map[string]Release{}, to: Catalog{
		releases: cloned(c.releases), cnis: cloned(c.cnis), addons: cloned(c.addons), distros: cloned(c.distros),
		keys: cloned(c.keys), templates: cloned(c.templates), DNSObjects: c.DNSObjects,
	}}
	err := fs.WalkDir(root, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return l.file(root, p)
	})
	if err != nil {
		return fmt.Errorf("read catalog %q: %w", name, err)
	}
	l.link()
	l.check()
	for _, d := range l.docs {
		l.problems = append(l.problems, d.Problems()...)
	}
	if len(l.problems) > 0 {
		return strict.NewError(l.problems)
	}
	*c = l.to
	return nil
}

func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

func (l *loader) problem(p, message, hint string) {
	l.problems = append(l.problems, strict.Problem{File: path.Join(l.name, p), Message: message, Hint: hint})
}

// file reads the file at p, which decides its meaning.
func (l *loader) file(root fs.FS, p string) error {
	info, err := fs.Stat(root, p)
	if err != nil {
		return err
	}
	if info.Size() > maxCatalogFile || !info.Mode().IsRegular() {
		l.problem(p, fmt.Sprintf("want a plain file of at most %d bytes", maxCatalogFile), "")
		return nil
	}
	data, err := fs.ReadFile(root, p)
	if err != nil {
		return err
	}
	parts := strings.Split(p, "/")
	name, isYAML := strings.CutSuffix(path.Base(p), ".yaml")
	switch {
	case p == "dns/coredns.yaml":
		l.to.DNSObjects = string(data)
	case len(parts) == 2 && parts[0] == "keys" && strings.HasSuffix(p, ".asc"):
		l.to.keys[parts[1]] = string(data)
	case len(parts) == 2 && parts[0] == "kubernetes" && isYAML:
		l.release(root, p, data, name)
	case len(parts) == 2 && parts[0] == "distro" && isYAML:
		mergeEntry(l, p, data, l.to.distros, name, KindDistro)
	case len(parts) == 3 && parts[0] == "cni" && parts[2] == "cni.yaml":
		mergeEntry(l, p, data, l.to.cnis, parts[1], KindCNI)
	case len(parts) == 3 && parts[0] == "addons" && parts[2] == "addon.yaml":
		mergeEntry(l, p, data, l.to.addons, parts[1], KindAddon)
	case len(parts) == 3 && (parts[0] == "cni" || parts[0] == "addons") && isYAML:
		l.to.templates[p] = string(data)
	case strings.HasPrefix(path.Base(p), "README"):
	default:
		l.problem(p, "no catalog entry has this place", "the directories are kubernetes, cni/<name>, addons/<name>, distro, dns and keys")
	}
	return nil
}

// release merges a release over the one of the same minor. It leaves a built-in one
// for later.
func (l *loader) release(root fs.FS, p string, data []byte, name string) {
	if root == embedded {
		l.to.releases[name] = sync.OnceValues(func() (Release, error) {
			one := &loader{name: embeddedName, docs: map[string]*strict.Document{}}
			entries := map[string]Release{}
			mergeEntry(one, p, data, entries, name, KindRelease)
			one.docs[p].Report(entries[name].validate(name))
			return entries[name], one.docs[p].Err()
		})
		return
	}
	if load, ok := l.to.releases[name]; ok {
		r, err := load()
		if err != nil {
			l.problem(p, err.Error(), "")
			return
		}
		l.changed[name] = r
	}
	mergeEntry(l, p, data, l.changed, name, KindRelease)
	if r, ok := l.changed[name]; ok {
		l.to.releases[name] = func() (Release, error) { return r, nil }
	}
}

// mergeEntry decodes data over the entry called name.
func mergeEntry[T any](l *loader, p string, data []byte, entries map[string]T, name, kind string) {
	entry, exists := entries[name]
	d := strict.New(path.Join(l.name, p), apiVersion, kind)
	l.docs[p] = d
	before := imagesOf(entry)
	if !d.Merge(data, &entry) {
		delete(entries, name)
		return
	}
	if !exists && kind == KindRelease {
		d.Report(missingFeatures(d))
	}
	d.Report(movedImages(d, before, imagesOf(entry)))
	entries[name] = entry
}

// missingFeatures returns the features that a new release leaves out: the zero
// value would silently mean "no".
func missingFeatures(d *strict.Document) []strict.Problem {
	var out []strict.Problem
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Features]()) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if p := "features." + name; !d.Has(p) {
			out = append(out, strict.Problem{Path: p, Message: "missing, every feature must be given"})
		}
	}
	return out
}

// imagesOf lists the images of an entry by the path they have in its file.
func imagesOf(entry any) map[string]Image {
	out := map[string]Image{}
	add := func(prefix string, images map[string]Image) {
		for role, i := range images {
			out[strict.JoinPath(prefix+"images", role)] = i
		}
	}
	switch e := entry.(type) {
	case Release:
		add("", e.Images)
	case Addon:
		for _, r := range e.Releases {
			add("releases["+r.From+"].", r.Images)
		}
	case CNI:
		for _, r := range e.Releases {
			add("releases["+r.From+"].", r.Images)
		}
	}
	return out
}

// movedImages refuses a new reference that silently keeps the digest of the old one.
func movedImages(d *strict.Document, before, after map[string]Image) []strict.Problem {
	var out []strict.Problem
	for p, is := range after {
		was := before[p]
		if !d.Has(p+".digest") && was.Digest != "" && was.Ref != is.Ref {
			out = append(out, strict.Problem{
				Path: p + ".ref", Message: fmt.Sprintf("the digest in the catalog belongs to %q", was.Ref),
				Hint: "give the digest of this reference, or digest: ~",
			})
		}
	}
	return out
}

// objects returns the templates of a network's version as one, "" if one is not there.
func (l *loader) objects(name string, r CNIRelease) string {
	var out []string
	for _, t := range r.templates() {
		text := l.to.templates[path.Join("cni", name, t)]
		if text == "" {
			return ""
		}
		out = append(out, text)
	}
	return strings.Join(out, "---\n")
}

// link copies templates and keys into the entries that name them.
func (l *loader) link() {
	l.linkAddons()
	for name, n := range l.to.cnis {
		releases := append([]CNIRelease(nil), n.Releases...)
		for i := range releases {
			releases[i].Objects, releases[i].Options = l.objects(name, releases[i]), n.Options
		}
		n.Releases = releases
		l.to.cnis[name] = n
	}
	for name, d := range l.to.distros {
		d.Keys = map[string]string{}
		for _, f := range d.keyFiles() {
			if key, ok := l.to.keys[f]; ok {
				d.Keys[f] = key
			}
		}
		l.to.distros[name] = d
	}
}

// check validates every entry of the merged catalog. If this directory has the
// file of an entry, problems have their line in it.
func (l *loader) check() {
	report := func(p, kind string, problems []strict.Problem) {
		if l.docs[p] == nil {
			l.docs[p] = strict.New(path.Join(l.name, p), apiVersion, kind)
		}
		l.docs[p].Report(problems)
	}
	for name, r := range l.changed {
		report("kubernetes/"+name+".yaml", KindRelease, append(r.validate(name), l.to.checkDefaults(r)...))
	}
	for name, n := range l.to.cnis {
		report("cni/"+name+"/cni.yaml", KindCNI, n.validate(name))
	}
	for name, a := range l.to.addons {
		report("addons/"+name+"/addon.yaml", KindAddon, a.validate(name))
	}
	for name, d := range l.to.distros {
		report("distro/"+name+".yaml", KindDistro, d.validate(name))
	}
	if _, err := RenderObjects(l.to.DNSObjects, sampleData("coredns")); err != nil || l.to.DNSObjects == "" {
		l.problem("dns/coredns.yaml", errors.Join(errors.New("not a template of objects"), err).Error(), "")
	}
}

// checkDefaults checks that the catalog has the defaults of a release.
func (c *Catalog) checkDefaults(r Release) []strict.Problem {
	var out []strict.Problem
	for i, name := range r.Defaults.Distros {
		d, ok := c.distros[name]
		if !ok {
			out = append(out, strict.Problem{Path: fmt.Sprintf("defaults.distros[%d]", i), Message: fmt.Sprintf("distribution %q is not in the catalog", name)})
			continue
		}
		for _, a := range r.Defaults.Arches {
			if !slices.Contains(d.Arches, a) {
				out = append(out, strict.Problem{Path: "defaults.arches", Message: fmt.Sprintf("distribution %q has no %s", name, a)})
			}
		}
	}
	n, ok := c.cnis[r.Defaults.CNI]
	if !ok {
		return append(out, strict.Problem{Path: "defaults.cni", Message: fmt.Sprintf("pod network %q is not in the catalog", r.Defaults.CNI)})
	}
	if _, err := n.For(r.Minor); err != nil {
		out = append(out, strict.Problem{Path: "defaults.cni", Message: err.Error()})
	}
	return out
}

func firstProblem(problems []strict.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return strict.NewError(problems[:1])
}
