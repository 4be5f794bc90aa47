package bundle_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// packer is a machine that packs from a made-up upstream.
type packer struct {
	t       *testing.T
	up      *upstreamtest.Upstream
	catalog *catalog.Catalog
	client  *fetch.Client
	store   *store.Store
	self    map[string]string
	dir     string
}

func newPacker(t *testing.T, up *upstreamtest.Upstream) *packer {
	t.Helper()
	p := &packer{t: t, up: up, dir: t.TempDir(), self: map[string]string{}}
	var err error
	if p.catalog, err = up.Catalog(filepath.Join(p.dir, "catalog")); err != nil {
		t.Fatal(err)
	}
	p.client, err = fetch.NewClient(fetch.Options{
		Rewrites: up.Rewrites(), Attempts: 2,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		p.self[arch] = filepath.Join(p.dir, "offk8s-"+arch)
		if err := os.WriteFile(p.self[arch], upstreamtest.SelfBinary(arch), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.store = openStore(t, filepath.Join(p.dir, "store"))
	return p
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func startUpstream(t *testing.T) *upstreamtest.Upstream {
	t.Helper()
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func wanted(distros ...string) manifests.Manifest {
	return manifests.Manifest{
		APIVersion: manifests.APIVersion, Kind: manifests.KindManifest,
		Kubernetes: "1.36", Arches: []string{"amd64"}, Distros: distros,
	}
}

func (p *packer) resolve(m manifests.Manifest, change ...func(*bundle.ResolveOptions)) (*manifests.Lock, error) {
	p.t.Helper()
	o := bundle.ResolveOptions{
		Client: p.client, Store: p.store, Created: bundletest.Created, HostRoot: p.dir,
		SelfBinaries: p.self, Offk8sVersion: "0.1.0+test",
	}
	for _, f := range change {
		f(&o)
	}
	return bundle.Resolve(context.Background(), m, p.catalog, o)
}

func (p *packer) mustResolve(m manifests.Manifest) *manifests.Lock {
	p.t.Helper()
	lock, err := p.resolve(m)
	if err != nil {
		p.t.Fatal(err)
	}
	return lock
}

func (p *packer) options(name string) bundle.PackOptions {
	return bundle.PackOptions{
		Client: p.client, Store: p.store, Key: bundletest.Key(p.t), SelfBinaries: p.self, HostRoot: p.dir,
		Output: filepath.Join(p.dir, name), VerifyAfterWrite: true,
	}
}

func (p *packer) pack(lock *manifests.Lock, name string) (bundle.PackResult, digest.Digest) {
	p.t.Helper()
	r, err := bundle.Pack(context.Background(), lock, p.options(name))
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := os.ReadFile(r.Path)
	if err != nil {
		p.t.Fatal(err)
	}
	return r, digest.FromBytes(b)
}

// clone is the Lock as a file would carry it, before Pack completes it.
func clone(t *testing.T, l *manifests.Lock) *manifests.Lock {
	t.Helper()
	out, err := manifests.LoadLock(l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPackWholeBundle(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	m := wanted("rocky-9", "debian-12")
	m.Arches = []string{"amd64", "arm64"}
	lock := p.mustResolve(m)
	r, _ := p.pack(lock, "b.tar")
	b, err := bundle.Open(context.Background(), []string{r.Path}, bundle.OpenOptions{Keys: []trust.PublicKey{bundletest.Key(t).Public()}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Root() != r.Root || b.Lock().Kubernetes != "1.36.3" {
		t.Errorf("root %s of kubernetes %s, result says %s", b.Root(), b.Lock().Kubernetes, r.Root)
	}
	have := map[string]bool{}
	for _, f := range b.Files() {
		have[f.Label()] = true
	}
	for _, i := range b.Images() {
		have[i.Name] = true
	}
	for _, want := range []string{
		"files/kubernetes/v1.36.3/linux/amd64/kubelet", "files/runc/v1.4.3/linux/arm64/runc",
		"files/offk8s/0.1.0+test/linux/amd64/offk8s", "offk8s.dev/smoke:0.1.0_test",
		"yum/rocky-9/x86_64/Packages/c/chrony-2.0-1.el9.x86_64.rpm", "yum/rocky-9/aarch64/Packages/m/made-up-data-1.0-1.el9.noarch.rpm",
		"yum/rocky-9/x86_64/repodata/repomd.xml", "yum/rocky-9/x86_64/repodata/repomd.xml.asc",
		"apt/debian-12/dists/offk8s/InRelease", "registry.k8s.io/pause:3.10.2",
	} {
		if !have[want] {
			t.Errorf("bundle lacks %q", want)
		}
	}
	for name := range have {
		if strings.Contains(name, "unwanted") {
			t.Errorf("bundle has %q, which nothing needs", name)
		}
	}
	if diff := cmp.Diff([]string{"ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel1", "ghcr.io/flannel-io/flannel:v0.28.5"}, r.FirstUse); diff != "" {
		t.Errorf("first use (-want +got):\n%s", diff)
	}
}

func TestPackSameLockSameBytes(t *testing.T) {
	up := startUpstream(t)
	p, q := newPacker(t, up), newPacker(t, up)
	lock := p.mustResolve(wanted("rocky-9", "debian-12"))
	fresh := clone(t, lock)
	_, first := p.pack(lock, "one.tar")
	if _, second := q.pack(fresh, "two.tar"); second != first {
		t.Errorf("another machine packs %s, want %s", second, first)
	}
	if _, third := q.pack(clone(t, lock), "three.tar"); third != first {
		t.Errorf("a complete lock packs %s, want %s", third, first)
	}
	// The Lock of a second resolve differs in nothing either.
	if diff := cmp.Diff(string(fresh.Encode()), string(lock.Encode())); diff != "" {
		t.Errorf("completed locks (-two +one):\n%s", diff)
	}
}

func TestPackAgainDownloadsNothing(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	lock := p.mustResolve(wanted("rocky-9"))
	fresh := clone(t, lock)
	_, first := p.pack(lock, "one.tar")
	before := len(up.Requests())
	if _, second := p.pack(fresh, "two.tar"); second != first {
		t.Errorf("packed %s, want %s", second, first)
	}
	if got := up.Requests()[before:]; len(got) > 0 {
		t.Errorf("second pack asked for %v", got)
	}
}

// killer cancels a run when its n-th artifact starts.
type killer struct {
	fetch.Progress
	left   atomic.Int64
	cancel context.CancelFunc
}

func (k *killer) Start(name string, size int64) fetch.Task {
	if k.left.Add(-1) < 0 {
		k.cancel()
	}
	return k.Progress.Start(name, size)
}

func TestT60InterruptedPackResumes(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	lock := p.mustResolve(wanted("rocky-9", "debian-12"))
	pristine := clone(t, lock)
	_, want := p.pack(lock, "whole.tar")
	groups := len(fetch.Group(pristine.Artifacts))
	for n := 0; n <= groups; n += max(1, groups/6) {
		q := newPacker(t, up)
		ctx, cancel := context.WithCancel(context.Background())
		k := &killer{Progress: fetch.Silent(), cancel: cancel}
		k.left.Store(int64(n))
		o := q.options("b.tar")
		o.Progress, o.Parallel = k, 1
		_, err := bundle.Pack(ctx, clone(t, pristine), o)
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("killed at %d: %v", n, err)
		}
		if left, _ := filepath.Glob(o.Output + "*"); len(left) > 0 {
			t.Errorf("killed at %d left %v", n, left)
		}
		if _, got := q.pack(clone(t, pristine), "b.tar"); got != want {
			t.Errorf("killed at %d, then packed %s, want %s", n, got, want)
		}
	}
}
