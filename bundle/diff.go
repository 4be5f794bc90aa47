package bundle

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
)

// Difference is what changes from one bundle to another.
type Difference struct {
	From digest.Digest `json:"from"` // root
	To   digest.Digest `json:"to"`
	// Components are the parts of a cluster whose version differs, by name.
	Components []Change `json:"components,omitempty"`
	// Changed are artifacts of which both bundles have one version each, Added and
	// Removed the others that only one has.
	Changed []Change `json:"changed,omitempty"`
	Added   []Change `json:"added,omitempty"`
	Removed []Change `json:"removed,omitempty"`
	// NewBlobs and NewBytes count what the second bundle has and the first lacks, as
	// stored; Bytes is all of the second.
	NewBlobs int   `json:"newBlobs"`
	NewBytes int64 `json:"newBytes"`
	Bytes    int64 `json:"bytes"`
}

// Change is a part with two versions; one is empty if only the other bundle has it.
type Change struct {
	Kind string `json:"kind,omitempty"`
	Name string `json:"name"`          // images: without the tag
	For  string `json:"for,omitempty"` // distribution and platform
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Diff compares two bundles.
func Diff(from, to *Bundle) Difference {
	d := Difference{From: from.Root(), To: to.Root()}
	old, now := from.lock.Components(), to.lock.Components()
	names := maps.Clone(old)
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if old[name] != now[name] {
			d.Components = append(d.Components, Change{Name: name, From: old[name], To: now[name]})
		}
	}
	d.artifacts(from.lock, to.lock)
	for _, blob := range to.Blobs() {
		size := to.blobs[blob].Size
		d.Bytes += size
		if _, ok := from.blobs[blob]; !ok {
			d.NewBlobs++
			d.NewBytes += size
		}
	}
	return d
}

// artifacts compares the artifacts by kind, name and hosts.
func (d *Difference) artifacts(from, to *manifests.Lock) {
	old, now := versionsOf(from), versionsOf(to)
	keys := map[Change]bool{}
	for k := range old {
		keys[k] = true
	}
	for k := range now {
		keys[k] = true
	}
	order := slices.SortedFunc(maps.Keys(keys), func(a, b Change) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.For, b.For), strings.Compare(a.Name, b.Name))
	})
	for _, k := range order {
		gone, new := without(old[k], now[k]), without(now[k], old[k])
		if len(gone) == 1 && len(new) == 1 {
			k.From, k.To = gone[0].version, new[0].version
			d.Changed = append(d.Changed, k)
			continue
		}
		for _, v := range gone {
			k.From, k.To = v.version, ""
			d.Removed = append(d.Removed, k)
		}
		for _, v := range new {
			k.From, k.To = "", v.version
			d.Added = append(d.Added, k)
		}
	}
}

// content is a version of an artifact with its digest: a tag may move.
type content struct {
	version string
	digest  digest.Digest
}

// versionsOf returns the versions in a Lock by artifact.
func versionsOf(l *manifests.Lock) map[Change][]content {
	out := map[Change][]content{}
	for i := range l.Artifacts {
		a := &l.Artifacts[i]
		k := Change{Kind: string(a.Kind), Name: a.Name, For: strings.TrimSpace(a.Distro + " " + a.Platform)}
		version := a.Version
		if a.Kind.InRegistry() {
			k.Name = repositoryOf(a)
			version = cmp.Or(version, a.Blob.Digest.String())
		}
		out[k] = append(out[k], content{version, a.Blob.Digest})
	}
	return out
}

// without returns the elements of a that b lacks.
func without(a, b []content) []content {
	var out []content
	for _, v := range a {
		if !slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}
