package yum

import (
	"strconv"
	"time"
)

// writePrimary writes primary.xml with the fields and in the order of createrepo_c.
func writePrimary(w *writer, packages []*PackageMeta, created time.Time) {
	w.open("metadata", "xmlns", nsCommon, "xmlns:rpm", nsRPM, "packages", strconv.Itoa(len(packages)))
	for _, p := range packages {
		writePackage(w, p, created)
	}
	w.close("metadata")
}

func writePackage(w *writer, p *PackageMeta, created time.Time) {
	w.open("package", "type", "rpm")
	w.text("name", p.Name)
	w.text("arch", p.Arch)
	writeVersion(w, p)
	w.text("checksum", p.Digest.Encoded(), "type", "sha256", "pkgid", "YES")
	w.text("summary", p.summary)
	w.text("description", p.description)
	w.text("packager", p.packager)
	w.text("url", p.url)
	w.empty("time", "file", strconv.FormatInt(created.Unix(), 10), "build", number(p.buildTime))
	w.empty("size", "package", strconv.FormatInt(p.Size, 10), "installed", number(p.installed), "archive", number(p.archive))
	w.empty("location", "href", p.Location)
	w.open("format")
	w.text("rpm:license", p.license)
	w.text("rpm:vendor", p.vendor)
	w.text("rpm:group", p.group)
	w.text("rpm:buildhost", p.buildHost)
	w.text("rpm:sourcerpm", p.source)
	w.empty("rpm:header-range", "start", strconv.FormatInt(p.headerStart, 10), "end", strconv.FormatInt(p.headerEnd, 10))
	for _, list := range []struct {
		name      string
		relations []Relation
	}{
		{"provides", p.provides},
		{"requires", p.requires},
		{"conflicts", p.conflicts},
		{"obsoletes", p.obsoletes},
		{"suggests", p.suggests},
		{"enhances", p.enhances},
		{"recommends", p.recommends},
		{"supplements", p.supplement},
	} {
		writeRelations(w, "rpm:"+list.name, list.relations)
	}
	for _, f := range p.files {
		if isPrimaryFile(f.path) {
			writeFile(w, f)
		}
	}
	w.close("format")
	w.close("package")
}

func writeVersion(w *writer, p *PackageMeta) {
	w.empty("version", "epoch", epoch(p.Epoch), "ver", p.Version, "rel", p.Release)
}

func writeRelations(w *writer, name string, relations []Relation) {
	if len(relations) == 0 {
		return
	}
	w.open(name)
	attributes := make([]string, 0, 12)
	for _, r := range relations {
		attributes = append(attributes[:0], "name", r.Name)
		if r.Op != "" {
			attributes = append(attributes, "flags", flagOf(r.Op), "epoch", epoch(r.Epoch), "ver", r.Version)
			if r.Release != "" {
				attributes = append(attributes, "rel", r.Release)
			}
		}
		if r.Pre && name == "rpm:requires" {
			attributes = append(attributes, "pre", "1")
		}
		w.empty("rpm:entry", attributes...)
	}
	w.close(name)
}

// flagOf returns the name of an operator.
func flagOf(op string) string {
	switch op {
	case "=":
		return "EQ"
	case "<":
		return "LT"
	case "<=":
		return "LE"
	case ">":
		return "GT"
	case ">=":
		return "GE"
	}
	return ""
}

func writeFile(w *writer, f metaFile) {
	if f.kind == "" {
		w.text("file", f.path)
		return
	}
	w.text("file", f.path, "type", f.kind)
}

// writeFilelists writes filelists.xml.
func writeFilelists(w *writer, packages []*PackageMeta, _ time.Time) {
	writeList(w, packages, "filelists", nsFilelists, func(p *PackageMeta) {
		for _, f := range p.files {
			writeFile(w, f)
		}
	})
}

// writeOther writes other.xml: the changelogs.
func writeOther(w *writer, packages []*PackageMeta, _ time.Time) {
	writeList(w, packages, "otherdata", nsOther, func(p *PackageMeta) {
		for _, c := range p.changelog {
			w.text("changelog", c.text, "author", c.author, "date", number(c.time))
		}
	})
}

func writeList(w *writer, packages []*PackageMeta, root, namespace string, content func(*PackageMeta)) {
	w.open(root, "xmlns", namespace, "packages", strconv.Itoa(len(packages)))
	for _, p := range packages {
		w.open("package", "pkgid", p.Digest.Encoded(), "name", p.Name, "arch", p.Arch)
		writeVersion(w, p)
		content(p)
		w.close("package")
	}
	w.close(root)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
