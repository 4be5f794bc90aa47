package manifests

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
)

//go:embed catalog
var embedded embed.FS

// maxCatalogFile bounds one file of a catalog.
const maxCatalogFile = 1 << 20

// Embedded returns the catalog that is built into the program.
func Embedded() (*Catalog, error) {
	root, err := fs.Sub(embedded, "catalog")
	if err != nil {
		return nil, fmt.Errorf("open embedded catalog: %w", err)
	}
	c := &Catalog{}
	if err := c.merge(root, "catalog"); err != nil {
		return nil, err
	}
	return c, nil
}

// Overlay merges the catalog entries under dir over c. dir has the folders of
// the embedded catalog: kubernetes/<minor>.yaml, cni/<name>/cni.yaml and the
// templates beside it, distro/<name>.yaml, dns/coredns.yaml, keys/<file>.asc.
// An entry of a name that exists is merged field by field (components by name,
// yum repositories by id, versions of a pod network by from; other lists are
// replaced; ~ empties a field), a new name adds an entry. An image whose ref
// changes needs its digest anew, or ~ for none. c is unchanged on error. The
// error is a *LoadError with every problem, unless dir cannot be read.
func (c *Catalog) Overlay(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open catalog: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("open catalog: %q is not a folder", dir)
	}
	return c.merge(os.DirFS(dir), dir)
}

// loader merges the files of one folder over a copy of a catalog.
type loader struct {
	to       Catalog
	name     string // of the folder, for messages
	docs     map[string]*document
	problems []Problem
}

func (c *Catalog) merge(root fs.FS, name string) error {
	l := &loader{name: name, docs: map[string]*document{}, to: Catalog{
		releases: cloned(c.releases), cnis: cloned(c.cnis), distros: cloned(c.distros),
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
	if len(l.problems) > 0 {
		return newLoadError(l.problems)
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
	l.problems = append(l.problems, Problem{File: path.Join(l.name, p), Message: message, Hint: hint})
}

// file reads one file by its place in the folder.
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
		mergeEntry(l, p, data, l.to.releases, name, KindRelease)
	case len(parts) == 2 && parts[0] == "distro" && isYAML:
		mergeEntry(l, p, data, l.to.distros, name, KindDistro)
	case len(parts) == 3 && parts[0] == "cni" && parts[2] == "cni.yaml":
		mergeEntry(l, p, data, l.to.cnis, parts[1], KindCNI)
	case len(parts) == 3 && parts[0] == "cni" && isYAML:
		l.to.templates[p] = string(data)
	case strings.HasPrefix(path.Base(p), "README"):
	default:
		l.problem(p, "no catalog entry has this place", "the folders are kubernetes, cni/<name>, distro, dns and keys")
	}
	return nil
}

// mergeEntry decodes data over the entry called name.
func mergeEntry[T any](l *loader, p string, data []byte, entries map[string]T, name, kind string) {
	entry, exists := entries[name]
	d := newDocument(path.Join(l.name, p))
	d.merging = true
	l.docs[p] = d
	root, ok := d.parse(data)
	if !ok {
		delete(entries, name)
		l.problems = append(l.problems, d.problems...)
		return
	}
	before := imagesOf(entry)
	d.decodeRoot(root, &entry)
	d.header(&entry, kind)
	if !exists && kind == KindRelease {
		d.required("features", reflect.TypeFor[Features]())
	}
	d.movedImages(before, imagesOf(entry))
	l.problems = append(l.problems, d.problems...)
	entries[name] = entry
}

// required reports the fields of t that the document leaves out: what is not
// said of a minor would silently mean "no".
func (d *document) required(at string, t reflect.Type) {
	for _, name := range sortedKeys(yamlFields(t)) {
		if p := at + "." + name; d.at[p] == (position{}) {
			d.place([]Problem{{Path: p, Message: "missing, every feature must be given"}})
		}
	}
}

// imagesOf lists the images of an entry by the path they have in its file.
func imagesOf(entry any) map[string]Image {
	out := map[string]Image{}
	add := func(prefix string, images map[string]Image) {
		for role, i := range images {
			out[joinPath(prefix+"images", role)] = i
		}
	}
	switch e := entry.(type) {
	case Release:
		add("", e.Images)
	case CNI:
		for _, r := range e.Releases {
			add("releases["+r.From+"].", r.Images)
		}
	}
	return out
}

// movedImages refuses a new reference that silently keeps the digest of the old one.
func (d *document) movedImages(before, after map[string]Image) {
	for _, p := range sortedKeys(after) {
		was, is := before[p], after[p]
		if _, said := d.at[p+".digest"]; !said && was.Digest != "" && was.Ref != is.Ref {
			d.place([]Problem{{
				Path: p + ".ref", Message: fmt.Sprintf("the digest in the catalog belongs to %q", was.Ref),
				Hint: "give the digest of this reference, or digest: ~",
			}})
		}
	}
}

// link puts templates and keys into the entries that name them.
func (l *loader) link() {
	for name, n := range l.to.cnis {
		releases := append([]CNIRelease(nil), n.Releases...)
		for i := range releases {
			releases[i].Objects = l.to.templates[path.Join("cni", name, releases[i].Template)]
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

// check validates every entry of the merged catalog; a problem is shown in the
// file of this folder that has the entry, where there is one.
func (l *loader) check() {
	report := func(p string, problems []Problem) {
		d := newDocument(path.Join(l.name, p))
		if known := l.docs[p]; known != nil {
			d.at = known.at
			problems = slices.DeleteFunc(problems, func(p Problem) bool { return concerns(p, known.problems) })
		}
		d.place(problems)
		l.problems = append(l.problems, d.problems...)
	}
	for name, r := range l.to.releases {
		report("kubernetes/"+name+".yaml", append(r.validate(name), l.defaults(r)...))
	}
	for name, n := range l.to.cnis {
		report("cni/"+name+"/cni.yaml", n.validate(name))
	}
	for name, d := range l.to.distros {
		report("distro/"+name+".yaml", d.validate(name))
	}
	if _, err := RenderObjects(l.to.DNSObjects, sampleData("coredns")); err != nil || l.to.DNSObjects == "" {
		l.problem("dns/coredns.yaml", errors.Join(errors.New("not a template of objects"), err).Error(), "")
	}
}

// defaults checks that what a release takes by default is in the catalog.
func (l *loader) defaults(r Release) []Problem {
	var out []Problem
	for i, name := range r.Defaults.Distros {
		d, ok := l.to.distros[name]
		if !ok {
			out = append(out, Problem{Path: fmt.Sprintf("defaults.distros[%d]", i), Message: fmt.Sprintf("distribution %q is not in the catalog", name)})
			continue
		}
		for _, a := range r.Defaults.Arches {
			if !contains(d.Arches, a) {
				out = append(out, Problem{Path: "defaults.arches", Message: fmt.Sprintf("distribution %q has no %s", name, a)})
			}
		}
	}
	n, ok := l.to.cnis[r.Defaults.CNI]
	if !ok {
		return append(out, Problem{Path: "defaults.cni", Message: fmt.Sprintf("pod network %q is not in the catalog", r.Defaults.CNI)})
	}
	if _, err := n.For(r.Minor); err != nil {
		out = append(out, Problem{Path: "defaults.cni", Message: err.Error()})
	}
	return out
}
