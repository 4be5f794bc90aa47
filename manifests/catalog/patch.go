package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// PatchVersions returns the patches that can be packed, the default among them,
// oldest first.
func (r Release) PatchVersions() []string {
	out := append(slices.Collect(maps.Keys(r.Patches)), r.Version)
	slices.SortFunc(out, func(a, b string) int {
		v, _ := ParseVersion(a)
		w, _ := ParseVersion(b)
		return v.Compare(w)
	})
	return slices.Compact(out)
}

// withPatch returns the release with the downloads of another patch, which it must
// have. Everything else is that of the minor.
func (r Release) withPatch(version string) (Release, error) {
	r.Components = slices.Clone(r.Components)
	i := slices.IndexFunc(r.Components, func(d Download) bool { return d.Name == "kubernetes" })
	d := &r.Components[i]
	old := strings.TrimPrefix(d.Version, "v")
	arches := map[string]Remote{}
	for arch, digest := range r.Patches[version] {
		url := strings.ReplaceAll(d.Arches[arch].URL, old, version)
		if url == d.Arches[arch].URL {
			return Release{}, fmt.Errorf("kubernetes %s: its address is not known: %q does not name %s", version, url, old)
		}
		arches[arch] = Remote{URL: url, Digest: digest}
	}
	d.Arches, d.Version = arches, strings.Replace(d.Version, old, version, 1)
	r.Version = version
	return r, nil
}

func (r Release) validatePatches(c *strict.Checks) {
	for _, version := range slices.Sorted(maps.Keys(r.Patches)) {
		p := strict.JoinPath("patches", version)
		if v, err := ParseVersion(version); err != nil || v.Patch < 0 || v.String() != version || v.MinorString() != r.Minor {
			c.Add(p, "found %q, want a full version of %s without v", version, r.Minor)
		}
		if len(r.Patches[version]) == 0 {
			c.Add(p, "has no digest")
		}
		for _, arch := range slices.Sorted(maps.Keys(r.Patches[version])) {
			at := strict.JoinPath(p, arch)
			c.Among(at, arch, Arches...)
			if d := r.Patches[version][arch]; d == "" {
				c.Add(at, "missing")
			} else {
				c.Digest(at, d)
			}
		}
	}
}
