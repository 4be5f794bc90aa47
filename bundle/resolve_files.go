package bundle

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/selfbin"
	"github.com/offk8s/offk8s/bundle/unpack"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

const (
	modeBinary = 0o755
	modeFile   = 0o644
)

// filePath returns the path on the mirror of a file of a component:
// "<component>/<version>/linux/<arch>/<base name>".
func filePath(component, version, arch, base string) string {
	return path.Join(component, version, "linux", arch, base)
}

// planFiles lists the binaries of every component for every architecture.
func (r *resolver) planFiles() {
	for _, d := range r.lock.Release.Components {
		for _, arch := range r.lock.Arches {
			remote, ok := d.Arches[arch]
			if !ok {
				r.fail(d.Name+" "+d.Version, fmt.Errorf("the catalog has it for %s, not for %q", strings.Join(slices.Sorted(maps.Keys(d.Arches)), ", "), arch))
				continue
			}
			r.planComponent(d, arch, remote)
		}
	}
}

func (r *resolver) planComponent(d catalog.Download, arch string, remote catalog.Remote) {
	source, err := sourceOf(remote.URL, remote.Digest)
	if err != nil {
		r.fail(d.Name+" "+d.Version, err)
		return
	}
	a := manifests.Artifact{
		Kind: manifests.KindFile, Name: d.Name, Version: d.Version, Platform: manifests.Platform(arch),
		Group: manifests.GroupFiles, Path: filePath(d.Name, d.Version, arch, d.Name), Mode: modeBinary, Source: source,
	}
	if len(d.Members) == 0 {
		r.add(a)
	}
	for _, member := range d.Members {
		member = strings.ReplaceAll(member, "{arch}", arch)
		if err := unpack.CheckName(member); err != nil {
			r.fail(d.Name+" "+d.Version, err)
			continue
		}
		a.Source.Member, a.Name = member, path.Base(member)
		a.Path = filePath(d.Name, d.Version, arch, a.Name)
		r.add(a)
	}
}

// sourceOf checks a URL and its digest; without a digest it is a first use.
func sourceOf(rawURL, pin string) (manifests.Source, error) {
	s := manifests.Source{URL: rawURL, Digest: digest.Digest(pin), Trust: manifests.TrustCatalog}
	if u, err := url.Parse(rawURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return s, fmt.Errorf("address %q: want a http or https URL", rawURL)
	}
	if pin == "" {
		s.Trust = manifests.TrustFirstUse
		return s, nil
	}
	if err := s.Digest.Validate(); err != nil {
		return s, fmt.Errorf("digest %q: %w", pin, err)
	}
	return s, nil
}

// planSelf adds the offk8s binary for every architecture: the mirror and the
// hosts need it.
func (r *resolver) planSelf(ctx context.Context) {
	version := r.o.Offk8sVersion
	for _, arch := range r.lock.Arches {
		label := "offk8s " + manifests.Platform(arch)
		binary, ok := r.o.SelfBinaries[arch]
		if !ok {
			r.fail(label, ErrNoSelf)
			continue
		}
		if err := selfbin.Check(binary, arch); err != nil {
			r.fail(label, err)
			continue
		}
		d, size, err := fetch.DigestFile(ctx, binary)
		if err != nil {
			r.fail(label, err)
			continue
		}
		r.add(manifests.Artifact{
			Kind: manifests.KindFile, Name: "offk8s", Version: version, Platform: manifests.Platform(arch),
			Group: manifests.GroupFiles, Path: filePath("offk8s", version, arch, "offk8s"), Mode: modeBinary,
			Source: manifests.Source{URL: fetch.SelfURL, Digest: d, Size: size, Trust: manifests.TrustLocal},
		})
	}
}

// planExtraFiles adds the user's files; those with a file:// URL are on this
// machine.
func (r *resolver) planExtraFiles(ctx context.Context) {
	for _, f := range r.m.Files {
		a := manifests.Artifact{
			Kind: manifests.KindFile, Name: f.Name, Group: manifests.GroupFiles,
			Path: path.Join("extra", f.Name), Mode: modeFile,
		}
		var err error
		if local, ok := strings.CutPrefix(f.URL, "file://"); ok {
			a.Source, err = localSource(ctx, f, local)
		} else {
			a.Source, err = sourceOf(f.URL, f.Digest)
		}
		if err != nil {
			r.fail(f.Name, err)
			continue
		}
		r.add(a)
	}
}

func localSource(ctx context.Context, f manifests.ExtraFile, local string) (manifests.Source, error) {
	d, size, err := fetch.DigestFile(ctx, local)
	if err != nil {
		return manifests.Source{}, err
	}
	if pin := digest.Digest(f.Digest); pin != "" && pin.Validate() == nil && pin.Algorithm() == digest.SHA256 && pin != d {
		return manifests.Source{}, &fetch.MismatchError{What: "digest", Found: d.String(), Want: f.Digest}
	}
	// The path is private to this machine and does not go into the Lock.
	return manifests.Source{URL: "file:" + f.Name, Digest: d, Size: size, Trust: manifests.TrustLocal}, nil
}

// firstUse looks up digests that the catalog does not pin, and stores files of
// this machine. Tags of images are resolved, files are downloaded unless only metadata
// is wanted.
func (r *resolver) firstUse(ctx context.Context) {
	for _, group := range fetch.Group(r.lock.Artifacts) {
		a := group[0]
		if ctx.Err() != nil {
			return
		}
		switch {
		case a.Kind == manifests.KindFile && a.Source.Trust == manifests.TrustLocal && a.Source.URL != fetch.SelfURL:
			r.storeLocal(ctx, group)
		case a.Source.Digest != "":
		case a.Kind == manifests.KindImage:
			r.resolveTag(ctx, a)
		case a.Kind == manifests.KindFile && !r.o.MetadataOnly:
			r.firstDownload(ctx, group)
		}
	}
}

func (r *resolver) firstDownload(ctx context.Context, group []*manifests.Artifact) {
	label := fetch.Label(group)
	task := r.o.Progress.Start(label, 0)
	d, size, err := r.env.FirstUse(ctx, group[0].Source.URL, task)
	task.Done(err)
	if err != nil {
		r.fail(label, err)
		return
	}
	r.o.Log.Info("first use", "artifact", label, "digest", d)
	for _, a := range group {
		a.Source.Digest, a.Source.Size = d, size
	}
}

func (r *resolver) storeLocal(ctx context.Context, group []*manifests.Artifact) {
	for _, f := range r.m.Files {
		if f.Name != group[0].Name {
			continue
		}
		if err := r.env.AddLocal(ctx, strings.TrimPrefix(f.URL, "file://"), group); err != nil {
			r.fail(f.Name, err)
		}
	}
}
