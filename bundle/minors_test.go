package bundle_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// unpinned are the artifacts of releases without a digest, and why.
var unpinned = map[string]string{
	"cfssl-certinfo": "nobody publishes the digest of the arm64 build",
}

// realPacker packs with the embedded catalog, where only the keys of the packages
// are those of the made-up upstream.
func realPacker(t *testing.T) *packer {
	t.Helper()
	p := newPacker(t, startUpstream(t))
	overlay := filepath.Join(p.dir, "catalog")
	for _, sub := range []string{"kubernetes", "cni", "addons"} {
		if err := os.RemoveAll(filepath.Join(overlay, sub)); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.catalog, err = catalog.Embedded(); err == nil {
		err = p.catalog.Overlay(overlay)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMinors resolves every minor for each of its distributions and both architectures.
// The artifacts of a release are in a golden file of the minor; the packages of all are in one,
// with a line for each combination of distribution and architecture.
func TestMinors(t *testing.T) {
	p := realPacker(t)
	releases := p.catalog.Versions()
	minors := map[string][]string{} // by the packages of a distribution and architecture
	for _, r := range releases {
		l, err := p.resolve(manifests.Manifest{
			APIVersion: manifests.APIVersion, Kind: manifests.KindManifest,
			Kubernetes: r.Minor, Arches: catalog.Arches, Distros: p.catalog.DistrosFor(r),
		})
		if err != nil {
			t.Errorf("%s: %v", r.Minor, err)
			continue
		}
		for _, name := range l.Distros {
			for _, arch := range l.DistroData[name].Arches {
				key := packagesOf(l, name, arch)
				minors[key] = append(minors[key], r.Minor)
			}
		}
		goldenLock(t, r, l)
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(minors)) {
		fmt.Fprintln(&b, key, strings.Join(minors[key], " "))
	}
	golden(t, "packages.txt", b.String())
}

// packagesOf returns the number of packages for a distribution and architecture, and a
// digest of their names and versions.
func packagesOf(l *manifests.Lock, distro, arch string) string {
	var names []string
	for _, a := range l.Artifacts {
		if a.Distro == distro && (a.Platform == manifests.Platform(arch) || a.Platform == "") {
			names = append(names, a.Name+" "+a.Version)
		}
	}
	slices.Sort(names)
	return fmt.Sprintf("%s %s: %d packages, %s:", distro, arch, len(names), digest.FromString(strings.Join(names, "\n")).Encoded()[:12])
}

// goldenLock compares the downloads and the images of a release with a golden file:
// a line for each URL, with its digest shortened.
func goldenLock(t *testing.T, r catalog.Release, l *manifests.Lock) {
	t.Helper()
	files := map[string]int{}
	for _, a := range l.Artifacts {
		pin := string(a.Source.Digest[:min(len(a.Source.Digest), len("sha256:")+12)])
		if a.Source.Trust == manifests.TrustFirstUse {
			pin = "first use"
		}
		switch {
		case a.Kind == manifests.KindFile && a.Source.Trust != manifests.TrustLocal:
			files[fmt.Sprintf("%s %s %s", strings.SplitN(a.Path, "/", 3)[0], a.Source.URL, pin)]++
		case a.Kind == manifests.KindImage && isRole(r, a.Source.URL):
			files[fmt.Sprintf("image %s %s", a.Source.URL, pin)]++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", l.Kubernetes, l.Runtime)
	for _, line := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "%s %d\n", line, files[line])
	}
	golden(t, "lock-"+r.Minor+".txt", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test -update rewrites it):\n%s", file, diff)
	}
}

func isRole(r catalog.Release, ref string) bool {
	for _, i := range r.Images {
		if i.Ref == ref {
			return true
		}
	}
	return false
}

// TestMinorsPinned: with --require pinned the embedded catalog packs every minor for
// amd64, its default, and every patch for both architectures but for what unpinned names.
func TestMinorsPinned(t *testing.T) {
	p := realPacker(t)
	for _, r := range p.catalog.Versions() {
		m := manifests.Manifest{APIVersion: manifests.APIVersion, Kind: manifests.KindManifest, Kubernetes: r.Minor, Distros: []string{"debian-12"}}
		if _, err := p.resolve(m, requirePinned); err != nil {
			t.Errorf("%s: %v", r.Minor, err)
		}
		m.Arches = catalog.Arches
		for _, version := range r.PatchVersions() {
			m.Kubernetes = version
			_, err := p.resolve(m, requirePinned)
			missing := map[string]bool{}
			for _, artifact := range artifactErrors(err) {
				if !errors.Is(artifact, bundle.ErrPolicy) || unpinned[artifact.Artifact] == "" {
					t.Errorf("%s: %v", version, artifact)
				}
				missing[artifact.Artifact] = true
			}
			if len(missing) != len(unpinned) {
				t.Errorf("%s lacks only the digests of %v: %v", version, missing, err)
			}
		}
	}
}

func requirePinned(o *bundle.ResolveOptions) { o.Require = bundle.RequirePinned }

// artifactErrors returns the errors of artifacts that are joined in err.
func artifactErrors(err error) []*bundle.ArtifactError {
	if a, ok := err.(*bundle.ArtifactError); ok {
		return []*bundle.ArtifactError{a}
	}
	below := []error{errors.Unwrap(err)}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		below = list.Unwrap()
	}
	var out []*bundle.ArtifactError
	for _, e := range below {
		if e != nil {
			out = append(out, artifactErrors(e)...)
		}
	}
	return out
}
