package bundle

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/offk8s/offk8s/bundle/apt"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
)

// repositories writes the metadata of the yum and apt repositories of a Lock.
type repositories struct {
	lock     *manifests.Lock
	store    *store.Store
	key      *trust.KeyPair
	packages *fetch.Packages
}

// write makes the metadata of every repository, signs it unless there is no key, adds
// it to the store and returns it sorted by group and path. It describes the packages by
// their headers, not by upstream's metadata. Lock.Created is the only time in it.
func (r repositories) write(ctx context.Context) ([]FileEntry, error) {
	groups := map[string][]manifests.Artifact{}
	for _, name := range r.lock.Distros {
		for _, group := range r.groups(name) {
			groups[group] = nil
		}
	}
	for _, a := range r.lock.Artifacts {
		if a.Kind == manifests.KindRPM || a.Kind == manifests.KindDeb {
			groups[a.Group] = append(groups[a.Group], a)
		}
	}
	var out []FileEntry
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		files, err := r.metadata(group, groups[group])
		if err == nil && r.key != nil {
			err = addSignatures(files, r.key, r.lock.Created)
		}
		if err != nil {
			return nil, &ArtifactError{Op: "repository metadata", Artifact: group, Err: err}
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			d, err := r.store.Add(ctx, bytes.NewReader(files[name]))
			if err != nil {
				return nil, &ArtifactError{Op: "repository metadata", Artifact: group + "/" + name, Err: err}
			}
			out = append(out, FileEntry{Group: group, Path: name, MediaType: manifests.MediaTypeFile, Blob: d, Plain: d})
		}
	}
	return out, nil
}

// groups returns the repositories of a distro, including those without a package.
func (r repositories) groups(distro string) []string {
	d := r.lock.DistroData[distro]
	if len(d.Apt) > 0 {
		return []string{manifests.AptGroup(distro)}
	}
	var out []string
	for _, arch := range distroArches(d, r.lock.Arches) {
		out = append(out, manifests.YumGroup(distro, arch))
	}
	return out
}

// metadata returns the metadata files of one repository by path.
func (r repositories) metadata(group string, packages []manifests.Artifact) (map[string][]byte, error) {
	created := r.lock.Created
	g, _ := manifests.ParseGroup(group)
	d, ok := r.lock.DistroData[g.Distro]
	if !ok {
		return nil, fmt.Errorf("the lock has no data of distribution %q", g.Distro)
	}
	if g.Kind == "yum" {
		metas, err := headers(packages, r.packages.RPM)
		if err != nil {
			return nil, err
		}
		return yum.WriteMetadata(metas, yum.MetadataOptions{Compression: d.MetadataCompression, Created: created})
	}
	metas, err := headers(packages, r.packages.Deb)
	if err != nil {
		return nil, err
	}
	return apt.WriteMetadata(metas, apt.MetadataOptions{Created: created, Arches: distroArches(d, r.lock.Arches)})
}

// headers returns the header of every package.
func headers[T any](packages []manifests.Artifact, header func(manifests.Artifact) (T, bool)) ([]T, error) {
	var out []T
	for _, a := range packages {
		meta, ok := header(a)
		if !ok {
			return nil, fmt.Errorf("%s was not fetched", a.Path)
		}
		out = append(out, meta)
	}
	return out, nil
}
