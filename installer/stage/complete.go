package stage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// completeness checks that the bundle contains everything that the plan needs, so
// that an omission shows before any host is changed. Paths is for checking that
// the mirror serves it too.
func completeness(in Input) []Check {
	c := &checks{}
	check := Check{Name: "bundle", Hint: "pack the bundle again for this cluster"}
	if lacking := in.missingPackages(); len(lacking) > 0 {
		c.require(false, Check{
			Name: "packages", Found: strings.Join(lacking, ", "), Want: "the packages of load balancers",
			Hint: "pack the bundle again with `offk8s pack`: older versions of it pack none for load balancers",
		})
	}
	needed, errs := needs(in)
	for _, err := range errs {
		check.Found = err.Error()
		c.require(false, check)
	}
	if len(errs) > 0 {
		return c.list
	}
	var missing []string
	for _, d := range needed {
		if _, ok := in.byDigest(d); !ok {
			missing = append(missing, d.String())
		}
	}
	check.Found = "all artifacts"
	if len(missing) > 0 {
		check.Found = "no " + strings.Join(missing, ", ")
	}
	c.require(len(missing) == 0, check)
	return c.list
}

// missingPackages returns the packages of load balancers that the bundle does not have,
// "no haproxy for debian-12 (linux/amd64)".
func (in Input) missingPackages() []string {
	var out []string
	for _, h := range balancers(in) {
		d, err := in.distro(h)
		if err != nil {
			continue // another check reports it
		}
		platform := manifests.Platform(in.arch(h))
		names := in.Lock.DistroData[d.Name].RolePackages[string(manifests.RoleLoadBalancer)]
		if len(names) == 0 {
			names = []string{"haproxy", "keepalived"}
		}
		for _, n := range names {
			if !in.hasPackage(d.Name, h, n) {
				out = append(out, fmt.Sprintf("no %s for %s (%s)", n, d.Name, platform))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// hasPackage reports whether the bundle has a package for the host.
func (in Input) hasPackage(distro string, h manifests.Host, name string) bool {
	platform := manifests.Platform(in.arch(h))
	return slices.ContainsFunc(in.Lock.Artifacts, func(a manifests.Artifact) bool {
		return a.Distro == distro && a.Name == name && (a.Platform == platform || a.Platform == "")
	})
}

// needs returns the digests of all files and images that the steps of all hosts
// name, sorted, or the distinct errors of planning, sorted by text. It leaves out
// hosts of an operating system that preflight refuses.
func needs(in Input) ([]digest.Digest, []error) {
	found := map[digest.Digest]bool{}
	var errs []error
	for _, p := range Install().Stages {
		if p.Steps == nil {
			continue
		}
		for _, h := range in.Cluster.Hosts {
			items, err := p.Steps(in, h)
			if err != nil {
				if !errors.Is(err, errOS) {
					errs = append(errs, err)
				}
				continue
			}
			for _, it := range items {
				switch s := it.Step.(type) {
				case *step.Artifact:
					found[s.Digest] = true
				case *step.Image:
					found[s.Digest] = true
				case *step.DockerImage:
					found[s.Digest] = true
				}
			}
		}
	}
	if len(errs) > 0 {
		manifests.SortErrors(errs)
		return nil, slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Paths returns the URL paths at which the mirror serves the files and images of
// the plan, sorted, without those that the bundle does not contain. They suit HEAD
// requests.
func Paths(in Input) ([]string, error) {
	needed, errs := needs(in)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var out []string
	for _, d := range needed {
		a, ok := in.byDigest(d)
		switch {
		case !ok:
		case a.Kind == manifests.KindImage:
			name, _, _ := strings.Cut(step.ImageRef(a.Name, d), "@")
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
