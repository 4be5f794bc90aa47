package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/apt"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
)

// writeRepositories makes the signed metadata of every yum and apt repository
// of the Lock, puts it into the store and returns it sorted by group and path.
// What it says of a package comes from the package itself, not from upstream's
// metadata. Lock.Created is the only time in it.
func writeRepositories(ctx context.Context, lock *manifests.Lock, s *store.Store, key *trust.KeyPair) ([]FileEntry, error) {
	groups := map[string][]manifests.Artifact{}
	for _, name := range lock.Distros {
		for _, group := range repositoryGroups(lock, name) {
			groups[group] = nil
		}
	}
	for _, a := range lock.Artifacts {
		if a.Kind == manifests.KindRPM || a.Kind == manifests.KindDeb {
			groups[a.Group] = append(groups[a.Group], a)
		}
	}
	var out []FileEntry
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		files, err := repositoryMetadata(lock, groups[group], group, s, key)
		if err != nil {
			return nil, &ArtifactError{Op: "repository metadata", Artifact: group, Err: err}
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			d, err := s.Add(ctx, bytes.NewReader(files[name]))
			if err != nil {
				return nil, &ArtifactError{Op: "repository metadata", Artifact: group + "/" + name, Err: err}
			}
			out = append(out, FileEntry{Group: group, Path: name, MediaType: manifests.MediaTypeFile, Blob: d, Plain: d})
		}
	}
	return out, nil
}

// repositoryGroups are the repositories of a distro, also those without a package.
func repositoryGroups(lock *manifests.Lock, distro string) []string {
	d := lock.DistroData[distro]
	if len(d.Apt) > 0 {
		return []string{manifests.AptGroup(distro)}
	}
	var out []string
	for _, arch := range distroArches(d, lock.Arches) {
		out = append(out, manifests.YumGroup(distro, arch))
	}
	return out
}

func repositoryMetadata(lock *manifests.Lock, packages []manifests.Artifact, group string, s *store.Store, key *trust.KeyPair) (map[string][]byte, error) {
	sign := func(b []byte) ([]byte, error) { return trust.SignDetached(key, b, lock.Created) }
	g, _ := manifests.ParseGroup(group)
	d, ok := lock.DistroData[g.Distro]
	if !ok {
		return nil, fmt.Errorf("the lock has no data of distribution %q", g.Distro)
	}
	if g.Kind == "yum" {
		metas, err := readPackages(s, packages, yum.FromRPM)
		if err != nil {
			return nil, err
		}
		return yum.WriteMetadata(metas, yum.MetadataOptions{Compression: d.MetadataCompression, Created: lock.Created, Sign: sign})
	}
	metas, err := readPackages(s, packages, apt.FromDeb)
	if err != nil {
		return nil, err
	}
	return apt.WriteMetadata(metas, apt.MetadataOptions{
		Created: lock.Created, Arches: distroArches(d, lock.Arches), SignDetached: sign,
		ClearSign: func(b []byte) ([]byte, error) { return trust.ClearSign(key, b, lock.Created) },
	})
}

// headerReader is yum.FromRPM or apt.FromDeb.
type headerReader[T any] func(r io.ReaderAt, size int64, d digest.Digest, path string) (T, error)

// readPackages reads the own header of every package.
func readPackages[T any](s *store.Store, packages []manifests.Artifact, read headerReader[T]) ([]T, error) {
	var out []T
	for _, a := range packages {
		meta, err := readPackage(s, a, read)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Path, err)
		}
		out = append(out, meta)
	}
	return out, nil
}

func readPackage[T any](s *store.Store, a manifests.Artifact, read headerReader[T]) (meta T, err error) {
	f, err := s.Get(a.Blob.Digest)
	if err != nil {
		return meta, err
	}
	defer f.Close()
	return read(f, a.Blob.Size, a.Blob.Digest, a.Path)
}
