package bundle

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

// PackPlan lists the content that Pack would download and pack.
type PackPlan struct {
	Name       string            `json:"name"`
	Kubernetes string            `json:"kubernetes"`
	Artifacts  []PlannedArtifact `json:"artifacts"` // in the order of the Lock
	// Bytes is the size of all sources, of which Download are not in the cache.
	// Content that several artifacts share counts once. The bundle is smaller: it
	// has files compressed, and of an archive only some members.
	Bytes    int64 `json:"bytes"`
	Download int64 `json:"download"`
	// Unknown counts the sources whose server does not say their size.
	Unknown int `json:"unknown"`
}

// PlannedArtifact is an artifact of a PackPlan.
type PlannedArtifact struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	Platform string `json:"platform,omitempty"`
	Distro   string `json:"distro,omitempty"`
	Source   string `json:"source"` // URL
	Trust    string `json:"trust"`  // evidence for the digest, as offk8s inspect has it
	// Bytes is the size of the source, of which Download are not in the cache; 0 if
	// it is not known. An artifact from the archive of another one has neither.
	Bytes    int64  `json:"bytes"`
	Download int64  `json:"download"`
	Unknown  bool   `json:"unknown,omitempty"`
	With     string `json:"with,omitempty"` // the artifact whose source this one is in
}

// PlanPack measures the artifacts of lock. Manifests of images are fetched, and servers
// are asked for the size of files; nothing else is downloaded.
func PlanPack(ctx context.Context, lock *manifests.Lock, o PackOptions) (PackPlan, error) {
	o.setDefaults()
	client, err := withHostArchives(o.Client, lock, o.HostRoot)
	if err != nil {
		return PackPlan{}, err
	}
	env := newEnv(client, o.Store, lock, o.SelfBinaries)
	if err := errors.Join(reach(ctx, client, env, lock, nil)...); err != nil {
		return PackPlan{}, err
	}
	groups := fetch.Group(lock.Artifacts)
	pieces, err := measure(ctx, fetch.NewMeasurer(env), groups, o.Parallel)
	if err != nil {
		return PackPlan{}, err
	}
	out := PackPlan{Name: lock.Name, Kubernetes: lock.Kubernetes}
	planned := map[*manifests.Artifact]PlannedArtifact{}
	counted := map[digest.Digest]bool{}
	for i, group := range groups {
		for _, a := range group {
			planned[a] = PlannedArtifact{
				Kind: string(a.Kind), Name: a.Name, Version: a.Version, Platform: a.Platform, Distro: a.Distro,
				Source: a.Source.URL, Trust: a.Source.Trust, With: group[0].Name,
			}
		}
		first := planned[group[0]]
		first.With = ""
		for _, p := range pieces[i] {
			if counted[p.Digest] {
				continue
			}
			counted[p.Digest] = true
			first.Bytes += p.Size
			if !p.Stored {
				first.Download += p.Size
			}
			if p.Size == 0 && !p.Stored {
				first.Unknown = true
				out.Unknown++
			}
		}
		out.Bytes, out.Download = out.Bytes+first.Bytes, out.Download+first.Download
		planned[group[0]] = first
	}
	for i := range lock.Artifacts {
		out.Artifacts = append(out.Artifacts, planned[&lock.Artifacts[i]])
	}
	return out, nil
}

// measure measures groups at the same time, parallel at once.
func measure(ctx context.Context, m *fetch.Measurer, groups [][]*manifests.Artifact, parallel int) ([][]fetch.Piece, error) {
	out := make([][]fetch.Piece, len(groups))
	var mu sync.Mutex
	var failed []error
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, group := range groups {
		g.Go(func() error {
			pieces, err := m.Measure(ctx, group)
			mu.Lock()
			defer mu.Unlock()
			out[i] = pieces
			if err != nil {
				failed = append(failed, &ArtifactError{Op: "measure", Artifact: fetch.Label(group), Err: classify(err)})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(failed) > 0 {
		manifests.SortErrors(failed)
		return nil, &PartialError{Failed: failed, Total: len(groups)}
	}
	return out, nil
}

// Space returns the bytes that a user may still write in a directory, and a number of
// its file system.
func Space(dir string) (free int64, device uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return 0, 0, err
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		device = uint64(sys.Dev)
	}
	return int64(st.Bavail) * int64(st.Bsize), device, nil
}
