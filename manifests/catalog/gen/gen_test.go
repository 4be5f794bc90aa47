package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/catalog"
)

func load(t *testing.T) *input {
	t.Helper()
	in, err := readInput(".")
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestGenerated: the files in kubernetes are what `make catalog` writes, so a second
// run changes nothing.
func TestGenerated(t *testing.T) {
	files, err := load(t).releases()
	if err != nil {
		t.Fatal(err)
	}
	found, err := os.ReadDir("../kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if _, ok := files[f.Name()]; !ok {
			t.Errorf("%s is not in the input: run make catalog", f.Name())
		}
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../kubernetes", name))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what make catalog writes: %v", name, err)
		}
		if !strings.HasPrefix(string(want), "# Code generated ") || !strings.Contains(strings.SplitN(string(want), "\n", 2)[0], "DO NOT EDIT") {
			t.Errorf("%s does not start as a generated file", name)
		}
	}
}

// TestPatchIsOneLine: a line for a new patch is all that the generator needs. It becomes
// the default of its minor, the one before stays available, and no other file changes.
func TestPatchIsOneLine(t *testing.T) {
	const minor, patch = "1.30", "1.30.99"
	dir := t.TempDir()
	for _, sub := range []string{"gen", "kubernetes"} {
		if err := os.CopyFS(filepath.Join(dir, sub), os.DirFS(filepath.Join("..", sub))); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "gen/kubernetes.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	amd64, arm64 := digest.SHA512.FromString("amd64").String(), digest.SHA512.FromString("arm64").String()
	_, err = fmt.Fprintf(f, "  v%s: {amd64: %s, arm64: %s}\n", patch, amd64, arm64)
	if err := errors.Join(err, f.Close(), run(dir)); err != nil {
		t.Fatal(err)
	}
	changed := differ(t, "../kubernetes", filepath.Join(dir, "kubernetes"))
	if want := []string{minor + ".yaml"}; !slices.Equal(changed, want) {
		t.Errorf("changed %v, want %v", changed, want)
	}
	again := t.TempDir()
	if err := errors.Join(os.CopyFS(again, os.DirFS(filepath.Join(dir, "kubernetes"))), run(dir)); err != nil {
		t.Fatal(err)
	}
	if changed := differ(t, again, filepath.Join(dir, "kubernetes")); len(changed) > 0 {
		t.Errorf("the second run changed %v", changed)
	}
	checkNewPatch(t, dir, minor, patch, amd64)
}

// checkNewPatch loads the releases in dir, in which a minor has a new patch.
func checkNewPatch(t *testing.T, dir, minor, patch, amd64 string) {
	t.Helper()
	before, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	was, err := before.Release(minor)
	if err != nil {
		t.Fatal(err)
	}
	after, err := catalog.Embedded()
	if err := errors.Join(err, os.RemoveAll(filepath.Join(dir, "gen")), after.Overlay(dir)); err != nil {
		t.Fatal(err)
	}
	is, err := after.Release(minor)
	if err != nil || is.Version != patch || is.Components[0].Arches["amd64"].Digest != amd64 {
		t.Errorf("default %s, %+v, %v", is.Version, is.Components[0], err)
	}
	old, err := after.Release(was.Version)
	if diff := cmp.Diff(was, old); err != nil || diff != "" {
		t.Errorf("%s is another one now: %v\n%s", was.Version, err, diff)
	}
}

// differ returns the names of the files of two directories that differ.
func differ(t *testing.T, dir, other string) []string {
	t.Helper()
	files, err := os.ReadDir(other)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		one, errOne := os.ReadFile(filepath.Join(dir, f.Name()))
		two, errTwo := os.ReadFile(filepath.Join(other, f.Name()))
		if err := errors.Join(errOne, errTwo); err != nil || !bytes.Equal(one, two) {
			out = append(out, f.Name())
		}
	}
	return out
}

// TestPinsComeFromInput: each digest that the loaded catalog pins is the one that
// the input has for that version and architecture or for that image, and comes with a
// source.
func TestPinsComeFromInput(t *testing.T) {
	in := load(t)
	cat, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	pins, used := 0, map[string]bool{}
	for _, minor := range cat.Versions() {
		for _, version := range minor.PatchVersions() {
			r, err := cat.Release(version)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range r.Components {
				for arch, remote := range d.Arches {
					pins++
					if want := in.pin(d, arch); remote.Digest != want {
						t.Errorf("%s %s %s %s: %q, the input has %q", version, d.Name, d.Version, arch, remote.Digest, want)
					}
				}
			}
			in.checkImages(t, version, r.Images, used)
		}
	}
	for _, name := range cat.CNINames() {
		n, err := cat.CNI(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range n.Releases {
			in.checkImages(t, name+" "+r.Version, r.Images, used)
		}
	}
	for _, name := range cat.AddonNames() {
		a, err := cat.Addon(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range a.Releases {
			in.checkImages(t, name+" "+r.Version, r.Images, used)
		}
	}
	if pins < 1000 {
		t.Errorf("compared %d", pins)
	}
	for ref := range in.images.Images {
		if !used[ref] {
			t.Errorf("%s is not used", ref)
		}
	}
}

// checkImages compares images with the input, and marks those that it has as used.
func (in *input) checkImages(t *testing.T, of string, images map[string]catalog.Image, used map[string]bool) {
	t.Helper()
	for role, i := range images {
		used[i.Ref] = true
		if want := in.images.Images[i.Ref]; i.Digest != want.Digest || want.Source == "" {
			t.Errorf("%s %s: %q, the input has %+v", of, role, i.Digest, want)
		}
	}
}

// pin returns the digest of the input.
func (in *input) pin(d catalog.Download, arch string) string {
	if d.Name == "kubernetes" {
		return in.patches.Patches[d.Version].arch(arch)
	}
	for _, c := range in.downloads.Components {
		if c.Name == d.Name {
			return c.Versions[d.Version].arch(arch)
		}
	}
	return "none"
}

// TestInput: digests are digests, sources are known, and what is there is used.
func TestInput(t *testing.T) {
	in := load(t)
	for version, d := range in.patches.Patches {
		for _, s := range []string{d.AMD64, d.ARM64} {
			if p := digest.Digest(s); p.Validate() != nil || p.Algorithm() != digest.SHA512 {
				t.Errorf("kubernetes %s: %q", version, s)
			}
		}
	}
	used := map[string]bool{}
	for _, versions := range in.minors.Versions {
		for _, v := range versions {
			if v != nil {
				used[*v] = true
			}
		}
	}
	sources := map[string]bool{}
	for _, c := range in.downloads.Components {
		for version, d := range c.Versions {
			if !used[version] {
				t.Errorf("%s %s is not used", c.Name, version)
			}
			for _, arch := range catalog.Arches {
				if p := digest.Digest(d.arch(arch)); p != "" && p.Validate() != nil {
					t.Errorf("%s %s %s: %q", c.Name, version, arch, p)
				}
			}
			if len(d.Source) == 0 {
				t.Errorf("%s %s has no source", c.Name, version)
			}
			for _, s := range d.Source {
				sources[s] = true
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(sources)), slices.Sorted(maps.Keys(in.downloads.Sources)); !slices.Equal(got, want) {
		t.Errorf("sources in use: %v\nlisted: %v", got, want)
	}
}

func TestSince(t *testing.T) {
	s := since[string]{"1.16": "a", "1.20": "b", "1.9": "z"}
	for version, want := range map[string]string{"1.8": "", "1.9": "z", "1.10": "z", "1.16": "a", "v1.19.16": "a", "1.20": "b", "1.36": "b", "1.09.9": "z"} {
		if got, ok := s.at(version); got != want || ok != (want != "") {
			t.Errorf("%s: %q", version, got)
		}
	}
}
