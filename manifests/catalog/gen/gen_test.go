package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

// TestPinsComeFromInput: each digest that the loaded catalog pins is the one that
// the input has for that version and architecture, and comes with a source.
func TestPinsComeFromInput(t *testing.T) {
	in := load(t)
	cat, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	pins := 0
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
			for role, i := range r.Images {
				if want := in.images.Images[i.Ref]; i.Digest != want.Digest || want.Source == "" {
					t.Errorf("%s %s: %q, the input has %+v", version, role, i.Digest, want)
				}
			}
		}
	}
	if pins < 1000 {
		t.Errorf("compared %d", pins)
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
