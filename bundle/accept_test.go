package bundle_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"pgregory.net/rapid"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror"
)

// pushIndex pushes a generated index under ref: images of several platforms, with and
// without the optional platform in the index, and attestations.
func pushIndex(rt *rapid.T, upstream, ref string) error {
	index := mutate.IndexMediaType(v1.ImageIndex(empty.Index),
		rapid.SampledFrom([]types.MediaType{types.OCIImageIndex, types.DockerManifestList}).Draw(rt, "type"))
	for i := range rapid.IntRange(1, 4).Draw(rt, "entries") {
		img, err := random.Image(64, int64(rapid.IntRange(1, 3).Draw(rt, "layers")))
		if err != nil {
			return err
		}
		arch := rapid.SampledFrom([]string{"amd64", "arm64", "s390x", "unknown", ""}).Draw(rt, fmt.Sprintf("arch%d", i))
		config, err := img.ConfigFile()
		if err != nil {
			return err
		}
		config.OS, config.Architecture = "linux", arch
		if img, err = mutate.ConfigFile(img, config); err != nil {
			return err
		}
		add := mutate.IndexAddendum{Add: img}
		if rapid.Bool().Draw(rt, fmt.Sprintf("platform%d", i)) {
			add.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		}
		index = mutate.AppendManifests(index, add)
	}
	tag, err := name.NewTag(strings.TrimPrefix(upstream, "http://") + "/" + ref)
	if err != nil {
		return err
	}
	return remote.WriteIndex(tag, index)
}

// If resolve and pack accept a generated index, the bundle opens and verifies, and plan
// and the mirror accept it.
func TestAcceptedIndexesAreServed(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	accepted, n := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		if n++; n > 25 {
			return
		}
		ref := fmt.Sprintf("registry.k8s.io/generated/app:v%d", n)
		if err := pushIndex(rt, up.URL, ref); err != nil {
			rt.Fatal(err)
		}
		m := wanted("rocky-9")
		m.Images = []string{ref}
		lock, err := p.resolve(m)
		if err != nil {
			return
		}
		out := filepath.Join(p.dir, fmt.Sprintf("b%d.tar", n))
		o := p.options(filepath.Base(out))
		o.Output = out
		if _, err := bundle.Pack(context.Background(), lock, o); err != nil {
			return
		}
		accepted++
		b, err := bundle.Open(t.Context(), []string{out}, bundletest.Options(bundletest.Key(t)))
		if err != nil {
			rt.Fatalf("open: %v", err)
		}
		defer b.Close()
		if err := b.Verify(t.Context(), bundle.VerifyOptions{}); err != nil {
			rt.Fatalf("verify: %v", err)
		}
		c := &manifests.Cluster{Name: "lab", Mirror: manifests.ClusterMirror{URL: "https://10.0.0.2:8443"}, Hosts: []manifests.Host{{
			Name: "node-1", Address: "10.0.0.11",
			Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd, manifests.RoleWorker},
		}}}
		c.SetDefaults(b.Lock().Release)
		in := stage.Input{Cluster: c, Lock: b.Lock(), Root: b.Root(), OpenPGPKey: []byte("key")}
		if _, err := installer.NewPlan(in, stage.Install()); err != nil {
			rt.Fatalf("plan: %v", err)
		}
		served, err := mirror.New([]*bundle.Bundle{b}, mirror.Options{})
		if err != nil {
			rt.Fatalf("serve: %v", err)
		}
		served.Close()
	})
	if accepted == 0 {
		t.Error("no index was accepted: nothing was tested")
	}
	t.Logf("%d of %d indexes were accepted", accepted, min(n, 25))
}
