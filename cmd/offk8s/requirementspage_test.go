package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRegistriesInPages finds the registry of every image of a pod network or an addon in
// the table of hosts that a firewall must let through, in a row that names the image.
func TestRegistriesInPages(t *testing.T) {
	cat, err := loadCatalog("")
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{}
	for _, r := range cat.Versions() {
		for _, name := range cat.CNIsFor(r) {
			cni, err := cat.CNI(name)
			if err != nil {
				t.Fatal(err)
			}
			release, err := cni.For(r.Minor)
			if err != nil {
				t.Fatal(err)
			}
			for _, image := range release.Images {
				refs[image.Ref] = true
			}
		}
	}
	for _, name := range cat.AddonNames() {
		addon, err := cat.Addon(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, release := range addon.Releases {
			for _, image := range release.Images {
				refs[image.Ref] = true
			}
		}
	}
	if len(refs) < 5 {
		t.Fatalf("only %d images", len(refs))
	}
	for _, page := range []string{"docs/requirements.md", "docs/zh-CN/requirements.md"} {
		text, err := os.ReadFile(filepath.Join(repository, page))
		if err != nil {
			t.Fatal(err)
		}
		for ref := range refs {
			if registry, path, _ := strings.Cut(ref, "/"); !hasRow(string(text), registry, path) {
				t.Errorf("%s: no row of %s that names %s", page, registry, ref)
			}
		}
	}
}

// hasRow reports whether a table has a row that begins with the registry and names the
// project of the image at path. All images of registry.k8s.io have one row.
func hasRow(text, registry, path string) bool {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| "+registry) {
			continue
		}
		for _, project := range []string{"flannel", "kube-router", "calico", "spegel"} {
			if strings.Contains(path, project) && strings.Contains(line, project) {
				return true
			}
		}
		if registry == "registry.k8s.io" {
			return true
		}
	}
	return false
}
