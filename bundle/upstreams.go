package bundle

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// Upstream is an address that packing needs, before rewrites.
type Upstream struct {
	// Name of the artifact or the package repository.
	Name string
	// Address is a URL, or the repository of an image ("registry.k8s.io/pause").
	Address string
}

// Upstreams returns the addresses of the artifacts of lock and of its package
// repositories, in this order.
func Upstreams(lock *manifests.Lock) []Upstream {
	var out []Upstream
	for _, group := range fetch.Group(lock.Artifacts) {
		if address, ok := addressOf(group[0]); ok {
			out = append(out, Upstream{fetch.Label(group), address})
		}
	}
	return append(out, repositoriesOf(lock)...)
}

// PlanUpstreams returns the upstreams of the bundle that m asks for, except for those
// that are found only when packages are resolved, and client with the apt archives
// of this machine. It does not use the network.
func PlanUpstreams(ctx context.Context, m manifests.Manifest, cat *catalog.Catalog, client *fetch.Client) ([]Upstream, *fetch.Client, error) {
	r := newResolver(m, ResolveOptions{Client: client})
	r.settle(cat)
	r.planAddons(cat)
	r.planFiles()
	r.planImages()
	r.planExtraFiles(ctx)
	if err := errors.Join(r.errs...); err != nil {
		return nil, nil, inputFailure(err)
	}
	client, err := withHostArchives(client, r.lock, "")
	return append(Upstreams(r.lock), chartRepositories(m)...), client, err
}

// addressOf returns the upstream of an artifact, and false if it is of this machine.
func addressOf(a *manifests.Artifact) (string, bool) {
	if a.Source.Trust == manifests.TrustLocal {
		return "", false
	}
	if a.Kind.InRegistry() || strings.HasPrefix(a.Source.URL, manifests.OCIScheme) {
		ref, err := fetch.ChartImage(a.Source.URL)
		return ref.Repo, err == nil
	}
	return a.Source.URL, true
}

// repositoriesOf returns the package repositories of a Lock.
func repositoriesOf(lock *manifests.Lock) []Upstream {
	var out []Upstream
	for _, name := range lock.Distros {
		d := lock.DistroData[name]
		for _, arch := range distroArches(d, lock.Arches) {
			for _, repo := range d.Yum {
				out = append(out, Upstream{"packages of " + name, strings.ReplaceAll(repo.BaseURL, "{arch}", manifests.RPMArch(arch))})
			}
		}
		for _, archive := range d.Apt {
			if slices.ContainsFunc(lock.Arches, archive.Has) {
				out = append(out, Upstream{"packages of " + name, fetch.AptScheme + archive.Archive})
			}
		}
	}
	return out
}

// reach connects to the upstreams of all artifacts that the store lacks, and to more,
// and returns one error for each artifact whose host cannot be reached.
func reach(ctx context.Context, client *fetch.Client, env fetch.Env, lock *manifests.Lock, more []Upstream) []error {
	want := slices.Clone(more)
	for _, group := range fetch.Group(lock.Artifacts) {
		if address, ok := addressOf(group[0]); ok && !env.Cached(ctx, group) {
			want = append(want, Upstream{fetch.Label(group), address})
		}
	}
	var addresses []string
	for _, u := range want {
		addresses = append(addresses, u.Address)
	}
	failed := client.Unreachable(ctx, addresses)
	if err := ctx.Err(); err != nil {
		return []error{err}
	}
	var errs []error
	for _, u := range want {
		if err := failed[u.Address]; err != nil {
			errs = append(errs, &ArtifactError{Op: "reach", Artifact: u.Name, Err: err})
		}
	}
	return errs
}
