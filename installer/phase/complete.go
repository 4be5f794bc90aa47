package phase

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Completeness checks that the bundle holds everything that the plan needs, so
// that a hole shows before a host is touched. Whether the mirror really serves
// it is asked with Paths.
func Completeness(in Input) []Check {
	c := &checks{}
	needs, err := Needs(in)
	if err != nil {
		for _, e := range flatten(err) {
			c.add(false, Fail, "bundle", e.Error(), "", "pack the bundle again for this cluster")
		}
		return c.list
	}
	var missing []string
	for _, d := range needs {
		if _, ok := in.byDigest(d); !ok {
			missing = append(missing, d.String())
		}
	}
	found := "all artifacts"
	if len(missing) > 0 {
		found = "no " + strings.Join(missing, ", ")
	}
	c.add(len(missing) == 0, Fail, "bundle", found, "", "pack the bundle again for this cluster")
	return c.list
}

// Needs returns the digests of all files and images that the steps of all hosts
// name, sorted, and every error that planning gave.
func Needs(in Input) ([]digest.Digest, error) {
	found := map[digest.Digest]bool{}
	errs := map[string]error{}
	for _, p := range All() {
		if p.Steps == nil {
			continue
		}
		for _, h := range in.Cluster.Hosts {
			items, err := p.Steps(in, h)
			if err != nil {
				errs[err.Error()] = err
				continue
			}
			for _, it := range items {
				switch s := it.Step.(type) {
				case *step.Artifact:
					found[s.Digest] = true
				case *kube.Image:
					found[s.Digest] = true
				}
			}
		}
	}
	if len(errs) > 0 {
		var list []error
		for _, k := range slices.Sorted(maps.Keys(errs)) {
			list = append(list, errs[k])
		}
		return nil, errors.Join(list...)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Paths returns where the mirror serves what Needs lists, as URL paths for HEAD
// requests, sorted.
func Paths(in Input) ([]string, error) {
	needs, err := Needs(in)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range needs {
		a, ok := in.byDigest(d)
		switch {
		case !ok:
		case a.Kind == manifests.KindImage:
			name, _, _ := strings.Cut(kube.ImageRef(a.Name, d), "@")
			registry, repository, _ := strings.Cut(name, "/")
			out = append(out, "/v2/"+repository+"/manifests/"+d.String()+"?ns="+registry)
		default:
			out = append(out, "/"+a.Group+"/"+a.Path)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (in Input) byDigest(d digest.Digest) (manifests.Artifact, bool) {
	i := slices.IndexFunc(in.Lock.Artifacts, func(a manifests.Artifact) bool {
		return plain(a) == d || a.Kind == manifests.KindImage && a.Blob.Digest == d
	})
	if i < 0 {
		return manifests.Artifact{}, false
	}
	return in.Lock.Artifacts[i], true
}

func flatten(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
