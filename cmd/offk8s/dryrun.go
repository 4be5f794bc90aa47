package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/manifests"
)

// packPlan is the result of pack --dry-run.
type packPlan struct {
	bundle.PackPlan
	Output string `json:"output"` // file that pack would write
	// Free and CacheFree are the bytes that can be written beside the output and in
	// the cache.
	Free      int64 `json:"free"`
	CacheFree int64 `json:"cacheFree"`
}

// dryRun prints the artifacts that pack would download and pack.
func (a *app) dryRun(ctx context.Context, src *sources, lock *manifests.Lock, o packOptions) error {
	plan, err := bundle.PlanPack(ctx, lock, bundle.PackOptions{
		Client: src.client, Store: src.store, SelfBinaries: src.self, Parallel: o.parallel,
	})
	if err != nil {
		return err
	}
	v := packPlan{PackPlan: plan, Output: cmp.Or(o.output, lock.Name+".tar")}
	var target, cache uint64 // devices
	if v.Free, target, err = bundle.Space(filepath.Dir(v.Output)); err != nil {
		return err
	}
	if v.CacheFree, cache, err = bundle.Space(src.store.Dir()); err != nil {
		return err
	}
	need := v.Bytes
	if durable.Shares(src.store.Dir(), filepath.Dir(v.Output)) {
		need -= shareable(v.PackPlan)
	}
	if target == cache {
		need += v.Download
	} else if v.Download > v.CacheFree {
		a.warnf("the cache %q may need %s, found %s free", src.store.Dir(), bundle.FormatSize(v.Download), bundle.FormatSize(v.CacheFree))
	}
	if need > v.Free {
		a.warnf("%q may need %s, found %s free", filepath.Dir(v.Output), bundle.FormatSize(need), bundle.FormatSize(v.Free))
	}
	return a.result(v, func(w io.Writer) error { return writePackPlan(w, v) })
}

// shareable returns how many bytes the bundle shares with the cache on a file system that
// can: of all but files, which are stored in another form than they are downloaded in.
func shareable(p bundle.PackPlan) (n int64) {
	for _, x := range p.Artifacts {
		if x.Kind != string(manifests.KindFile) {
			n += x.Bytes
		}
	}
	return n
}

func writePackPlan(w io.Writer, v packPlan) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "KIND\tNAME\tVERSION\tFOR\tSIZE\tDOWNLOAD\tTRUST\tSOURCE")
	for _, x := range v.Artifacts {
		size, download := bundle.FormatSize(x.Bytes), bundle.FormatSize(x.Download)
		switch {
		case x.With != "":
			size, download = "with "+x.With, ""
		case x.Unknown && x.Bytes == 0:
			size, download = "unknown", "unknown"
		case x.Download == 0:
			download = "cached"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Kind, x.Name, x.Version, target(x.Platform, x.Distro), size, download, x.Trust, x.Source)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	unknown := ""
	if v.Unknown > 0 {
		unknown = fmt.Sprintf(", without %s of unknown size", count(v.Unknown, "file"))
	}
	_, err := fmt.Fprintf(w, "\n%s, %s; in the cache: %s; to download: %s%s\nfree: %s for %s, %s in the cache\n",
		count(len(v.Artifacts), "artifact"), bundle.FormatSize(v.Bytes), bundle.FormatSize(v.Bytes-v.Download), bundle.FormatSize(v.Download), unknown,
		bundle.FormatSize(v.Free), v.Output, bundle.FormatSize(v.CacheFree))
	return err
}
