package bundle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/offk8s/offk8s/bundle/apt"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// maxOSRelease is the longest os-release file in bytes.
const maxOSRelease = 64 << 10

// packages adds the packages of every distro and architecture with their
// dependencies.
func (r *resolver) packages(ctx context.Context) {
	client, err := withHostArchives(r.o.Client, r.lock, r.o.HostRoot)
	if err != nil {
		r.fail("apt sources", err)
		return
	}
	for _, name := range r.lock.Distros {
		d := r.lock.DistroData[name]
		arches := distroArches(d, r.lock.Arches)
		for _, arch := range r.lock.Arches {
			if !slices.Contains(arches, arch) {
				r.o.Log.Warn("distribution has no packages for this architecture", "distro", name, "arch", arch)
			}
		}
		for _, arch := range arches {
			task := r.o.Progress.Start(fmt.Sprintf("packages of %s (linux/%s)", name, arch), 0)
			err := r.closeOver(ctx, client, d, arch)
			task.Done(err)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.fail("packages of "+name+" for "+arch, err)
			}
		}
	}
}

func (r *resolver) closeOver(ctx context.Context, client *fetch.Client, d catalog.Distro, arch string) error {
	names := sortedOr(append(d.AllPackages(), r.m.Packages...), nil)
	switch {
	case len(d.Yum) > 0:
		return r.closeYum(ctx, client, d, arch, names)
	case len(d.Apt) > 0:
		return r.closeApt(ctx, client, d, arch, names)
	}
	return errors.New("the catalog names no package source")
}

// present names the packages that every host of the distribution has.
func (r *resolver) present(d catalog.Distro) []string {
	if r.lock.AssumeInstalled == "" {
		return nil
	}
	return d.Minimal
}

func (r *resolver) closeYum(ctx context.Context, client *fetch.Client, d catalog.Distro, arch string, names []string) error {
	yumArch := manifests.RPMArch(arch)
	var repos []*yum.Repo
	var errs []error
	for _, source := range d.Yum {
		keyring, err := sourceKeyring(d, source.KeyFiles)
		if err != nil {
			return err
		}
		repo, err := yum.ReadRepo(ctx, client, source, yumArch, keyring)
		errs = append(errs, err)
		if err != nil {
			continue
		}
		repos = append(repos, repo)
		for _, p := range repo.Packages {
			r.logUnusable("yum repository "+repo.ID, p.String(), p.Unusable)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	packages, err := yum.Closure(ctx, repos, names, yum.ClosureOptions{Arch: yumArch, Exclude: d.Exclude, Present: r.present(d)})
	if err != nil {
		return err
	}
	for _, p := range packages {
		repository := ""
		if p.Elsewhere {
			repository = p.Repo
		}
		r.add(manifests.Artifact{
			Kind: manifests.KindRPM, Name: p.Name, Version: p.EVR(), Platform: manifests.Platform(arch), Distro: d.Name,
			Group: manifests.YumGroup(d.Name, arch), Path: p.Path(), Mode: modeFile,
			RequiredBy: p.RequiredBy, Requirement: p.Requirement,
			Source: manifests.Source{URL: p.URL, Digest: p.Digest, Size: p.Size, Trust: manifests.TrustSignature, Repository: repository},
		})
	}
	return nil
}

func (r *resolver) closeApt(ctx context.Context, client *fetch.Client, d catalog.Distro, arch string, names []string) error {
	var suites []*apt.Suite
	var errs []error
	signers := map[string]string{}
	for _, source := range d.Apt {
		if !source.Has(arch) {
			continue
		}
		keyring, err := sourceKeyring(d, source.KeyFiles)
		if err != nil {
			return err
		}
		suite, err := apt.ReadSuite(ctx, client, fetch.AptScheme+source.Archive, source, arch, keyring, apt.SuiteOptions{Now: r.lock.Created})
		if errors.Is(err, fetch.ErrNoArchive) {
			err = fmt.Errorf("%w; this machine's own apt is not that of %s: say where it is with a rewrite of %q",
				err, d.Name, fetch.AptScheme+source.Archive)
		}
		errs = append(errs, err)
		if err == nil {
			suites = append(suites, suite)
			for _, p := range suite.Packages {
				r.logUnusable("apt suite "+suite.Name, p.String(), p.Unusable)
			}
			signers[suite.Name] = suite.Signer
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	packages, err := apt.Closure(ctx, suites, names, apt.ClosureOptions{Arch: arch, Exclude: d.Exclude, Present: r.present(d)})
	if err != nil {
		return err
	}
	for _, p := range packages {
		r.addDeb(d, arch, p, signers[p.Suite])
	}
	return nil
}

// logUnusable logs the reason why a package of a repository is never taken.
func (r *resolver) logUnusable(repository, name string, reason error) {
	if reason != nil {
		r.o.Log.Debug("package cannot be used", "repository", repository, "package", name, "reason", reason)
	}
}

// addDeb adds a package once: a package of architecture "all" serves every platform.
func (r *resolver) addDeb(d catalog.Distro, arch string, p apt.Package, signer string) {
	a := manifests.Artifact{
		Kind: manifests.KindDeb, Name: p.Name, Version: p.Version, Platform: manifests.Platform(arch), Distro: d.Name,
		Group: manifests.AptGroup(d.Name), Path: p.Path(), Mode: modeFile,
		RequiredBy: p.RequiredBy, Requirement: p.Requirement,
		Source: manifests.Source{URL: p.URL, Digest: p.Digest, Size: p.Size, Trust: manifests.TrustSignature, Signer: signer},
	}
	if p.Arch == "all" {
		a.Platform = ""
	}
	same := func(b manifests.Artifact) bool {
		return b.Group == a.Group && b.Path == a.Path && b.Source.Digest == a.Source.Digest
	}
	if !slices.ContainsFunc(r.lock.Artifacts, same) {
		r.add(a)
	}
}

// withHostArchives adds the apt archives for which there is no rewrite, if the
// packing machine runs their distro and has them in its apt configuration.
func withHostArchives(client *fetch.Client, lock *manifests.Lock, root string) (*fetch.Client, error) {
	if root == "" {
		root = "/"
	}
	var more []manifests.Rewrite
	for _, name := range lock.Distros {
		d := lock.DistroData[name]
		for _, source := range d.Apt {
			// The sources of this machine are those of its architecture.
			if _, known := client.Archive(source.Archive); known || !runs(root, d) || !source.Has(runtime.GOARCH) {
				continue
			}
			sources, err := apt.SourcesFromHost(root)
			if err != nil {
				return nil, err
			}
			if at, ok := apt.ArchiveURL(sources, source.Archive, source.Suite, source.Components); ok {
				more = append(more, manifests.Rewrite{From: fetch.AptScheme + source.Archive, To: at})
			}
		}
	}
	if len(more) == 0 {
		return client, nil
	}
	return client.With(more)
}

// runs reports whether the machine below root runs d.
func runs(root string, d catalog.Distro) bool {
	b, err := reader.ReadFile(filepath.Join(root, "etc/os-release"), maxOSRelease)
	if err != nil {
		return false
	}
	return d.Is(catalog.ParseOSRelease(b))
}
