package bundle_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

// pause116 is the image that the chart shop names: its values have no tag, and the version
// of its application is 3.1.
const pause116 = "registry.k8s.io/pause:3.1"

func shop(t *testing.T, version string) []byte {
	t.Helper()
	b, err := upstreamtest.Shop(version)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestResolveCharts(t *testing.T) {
	up := startUpstream(t)
	inRegistry, err := up.PushChart("registry.k8s.io/charts/shop:2.0.0_b1", shop(t, "2.0.0+b1"))
	if err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(t.TempDir(), "shop.tgz")
	if err := os.WriteFile(local, shop(t, "3.0.0"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPacker(t, up)
	m := wanted("debian-12")
	m.Charts = []manifests.ManifestChart{
		{Repository: upstreamtest.ChartRepository, Name: "shop", Version: "1.2.3"},
		{Repository: "oci://registry.k8s.io/charts", Name: "shop", Version: "2.0.0+b1"},
		{File: local, Images: []string{"registry.k8s.io/coredns:1.6.2"}},
	}
	l := p.mustResolve(m)
	var got []string
	for _, a := range l.Artifacts {
		if a.Kind == manifests.KindChart {
			got = append(got, strings.Join([]string{a.Path, a.Source.URL, a.Source.Trust, a.Source.Digest.String(), strings.Join(a.Chart.Images, ",")}, " "))
		}
	}
	want := []string{
		"shop-1.2.3.tgz " + upstreamtest.ChartURL + " checksum-file " + digest.FromBytes(shop(t, "1.2.3")).String() + " " + pause116,
		"shop-2.0.0+b1.tgz oci://registry.k8s.io/charts/shop:2.0.0_b1 first-use " + inRegistry.String() + " " + pause116,
		"shop-3.0.0.tgz file:shop-3.0.0.tgz local " + digest.FromBytes(shop(t, "3.0.0")).String() + " registry.k8s.io/coredns:1.6.2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if a := find(t, l, pause116, ""); a.Source.Digest.String() != up.ImageDigest(pause116) || a.Source.Trust != manifests.TrustFirstUse {
		t.Errorf("image %+v", a.Source)
	}
	for name, because := range map[string]string{pause116: "the chart shop 1.2.3 names it", "shop": "pack.yaml or --chart lists it"} {
		if r := bundle.Why(l, name); len(r) == 0 || r[0].Because != because {
			t.Errorf("why %s: %+v", name, r)
		}
	}

	// The Lock alone is enough to pack, also without the cache.
	if _, err := manifests.LoadLock(l.Encode()); err != nil {
		t.Fatal(err)
	}
	l.Artifacts = slices.DeleteFunc(l.Artifacts, func(a manifests.Artifact) bool {
		return a.Source.Trust == manifests.TrustLocal && a.Kind == manifests.KindChart
	})
	_, first := p.pack(clone(t, l), "a.tar")
	if _, second := newPacker(t, up).pack(clone(t, l), "b.tar"); first != second {
		t.Errorf("roots %s and %s", first, second)
	}
}

func TestResolveChartsRefuses(t *testing.T) {
	up := startUpstream(t)
	notThere, err := upstreamtest.ChartArchive("lost", map[string]string{
		"Chart.yaml": "name: lost\nversion: 1.0.0\nappVersion: v7\n", "values.yaml": "image: {repository: registry.k8s.io/pause, tag: null}\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	lost := filepath.Join(t.TempDir(), "lost.tgz")
	if err := os.WriteFile(lost, notThere, 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := digest.FromString("x").String()
	fromRepo := manifests.ManifestChart{Repository: upstreamtest.ChartRepository, Name: "shop", Version: "1.2.3"}
	pinned := fromRepo
	pinned.Digest = wrong
	for name, c := range map[string]struct {
		chart  manifests.ManifestChart
		change func(*bundle.ResolveOptions)
		class  error
		want   string
	}{
		"an image that is not there": {manifests.ManifestChart{File: lost}, nil, bundle.ErrChartImage, `image "registry.k8s.io/pause:v7" in values.yaml`},
		"no such version":            {manifests.ManifestChart{Repository: upstreamtest.ChartRepository, Name: "shop", Version: "1.2.4"}, nil, nil, "which has 1.2.3"},
		"another digest":             {pinned, nil, bundle.ErrVerify, wrong},
		"another digest of a file":   {manifests.ManifestChart{File: lost, Digest: wrong}, nil, bundle.ErrVerify, wrong},
		"no digest, pinned demanded": {fromRepo, func(o *bundle.ResolveOptions) { o.Require = bundle.RequirePinned }, bundle.ErrPolicy, `"chart shop 1.2.3": no digest`},
		"image without a digest":     {manifests.ManifestChart{File: lost}, func(o *bundle.ResolveOptions) { o.Require = bundle.RequirePinned }, bundle.ErrPolicy, `no digest is pinned`},
	} {
		t.Run(name, func(t *testing.T) {
			m := wanted("debian-12")
			m.Charts = []manifests.ManifestChart{c.chart}
			change := c.change
			if change == nil {
				change = func(*bundle.ResolveOptions) {}
			}
			_, err := newPacker(t, up).resolve(m, change)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.class != nil && !errors.Is(err, c.class) {
				t.Errorf("%v, want %q of class %v", err, c.want, c.class)
			}
		})
	}
}

// A registry that does not answer is an error, not a reason for another guess.
func TestResolveChartsRegistryDown(t *testing.T) {
	up := startUpstream(t)
	up.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/registry.k8s.io/pause/") {
			http.Error(w, "down", http.StatusInternalServerError)
			return true
		}
		return false
	})
	m := wanted("debian-12")
	m.Charts = []manifests.ManifestChart{{Repository: upstreamtest.ChartRepository, Name: "shop", Version: "1.2.3"}}
	if _, err := newPacker(t, up).resolve(m); err == nil || errors.Is(err, bundle.ErrChartImage) || !strings.Contains(err.Error(), "500") {
		t.Errorf("%v", err)
	}
}
