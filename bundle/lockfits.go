package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// Unlike returns what m asks for and lock does not have, one line for each: settings with
// another value, and images, files, charts and addons that are missing. It does not look at
// packages, which can come under another name than that of the Manifest.
func Unlike(lock *manifests.Lock, m manifests.Manifest) []string {
	var out []string
	setting := func(field, have, want string) {
		if want != "" && want != have {
			out = append(out, fmt.Sprintf("%s: %s, not %s", field, have, want))
		}
	}
	setting("name", lock.Name, m.Name)
	if m.Sequence != 0 {
		setting("sequence", fmt.Sprint(lock.Sequence), fmt.Sprint(m.Sequence))
	}
	setting("arches", list(lock.Arches), list(goArches(m.Arches)))
	setting("distros", list(lock.Distros), list(m.Distros))
	setting("cni", lock.CNI, m.CNI)
	setting("runtime", lock.Runtime, m.Runtime)
	missing := func(what, name string, has bool) {
		if !has {
			out = append(out, fmt.Sprintf("%s %s: is not there", what, name))
		}
	}
	for _, ref := range m.Images {
		a, err := imageArtifact(catalog.Image{Ref: ref})
		missing("image", ref, err != nil || has(lock, manifests.KindImage, a.Name, ""))
	}
	for _, f := range m.Files {
		missing("file", f.Name, has(lock, manifests.KindFile, f.Name, path.Join("extra", f.Name)))
	}
	for _, c := range m.Charts {
		if c.File == "" { // the archive has the name of one
			missing("chart", c.Name+" "+c.Version, has(lock, manifests.KindChart, c.Name, manifests.ChartPath(c.Name, c.Version)))
		}
	}
	for _, a := range m.Addons {
		missing("addon", a.Name, slices.ContainsFunc(lock.Addons, func(b manifests.Addon) bool { return b.Name == a.Name }))
	}
	return out
}

// has reports whether lock has an artifact with this name, and with this path unless it is
// empty.
func has(lock *manifests.Lock, kind manifests.ArtifactKind, name, file string) bool {
	return slices.ContainsFunc(lock.Artifacts, func(a manifests.Artifact) bool {
		return a.Kind == kind && a.Name == name && (file == "" || a.Path == file)
	})
}

// list returns the sorted names in one string, each once.
func list(names []string) string {
	return strings.Join(sortedOr(names, nil), ", ")
}

// goArches returns arches in Go's spelling.
func goArches(arches []string) (out []string) {
	for _, a := range arches {
		if arch, ok := manifests.MachineArch(a); ok {
			a = arch
		}
		out = append(out, a)
	}
	return out
}
