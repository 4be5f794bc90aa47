package bundle

import (
	"fmt"
	"slices"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// Reason says why an artifact is in a bundle.
type Reason struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	Platform string `json:"platform,omitempty"`
	Distro   string `json:"distro,omitempty"`
	// Chain are the packages that led here, the one that requires the artifact
	// first.
	Chain []Link `json:"chain,omitempty"`
	// Because is the reason for the artifact, or for the last package of Chain.
	Because string `json:"because"`
}

// Link is a package that requires the one before it.
type Link struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Requirement string `json:"requirement"` // "libseccomp.so.2()(64bit)"
}

// Why returns the reasons for all artifacts called name: a package, a program, or an
// image with or without its tag. It returns none if lock has no such artifact.
func Why(lock *manifests.Lock, name string) []Reason {
	var out []Reason
	for i := range lock.Artifacts {
		a := &lock.Artifacts[i]
		if a.Name != name && (a.Kind != manifests.KindImage || repositoryOf(a) != name) {
			continue
		}
		r := Reason{Kind: string(a.Kind), Name: a.Name, Version: a.Version, Platform: a.Platform, Distro: a.Distro}
		last := a
		for seen := map[string]bool{a.Name: true}; last.RequiredBy != "" && !seen[last.RequiredBy]; seen[last.Name] = true {
			by := requirer(lock, last)
			if by == nil {
				break
			}
			r.Chain = append(r.Chain, Link{by.Name, by.Version, last.Requirement})
			last = by
		}
		r.Because = because(lock, last)
		out = append(out, r)
	}
	return out
}

// repositoryOf returns the name of an image without tag and digest.
func repositoryOf(a *manifests.Artifact) string {
	ref, err := fetch.ParseImage(a.Name)
	if err != nil {
		return a.Name
	}
	return ref.Repo
}

// requirer returns the package that a names in RequiredBy, nil if the Lock lacks it.
func requirer(lock *manifests.Lock, a *manifests.Artifact) *manifests.Artifact {
	var found *manifests.Artifact
	kind := a.Kind
	if kind == manifests.KindAttachment {
		kind = manifests.KindImage
	}
	for i := range lock.Artifacts {
		b := &lock.Artifacts[i]
		if b.Name != a.RequiredBy || b.Kind != kind || b.Distro != a.Distro {
			continue
		}
		if found == nil || b.Platform == a.Platform {
			found = b
		}
	}
	return found
}

// because returns the reason for an artifact that no other one requires.
func because(lock *manifests.Lock, a *manifests.Artifact) string {
	switch a.Kind {
	case manifests.KindImage:
		return becauseImage(lock, a)
	case manifests.KindFile:
		for _, c := range lock.Release.Components {
			if c.Name == a.Name || slices.ContainsFunc(lock.Artifacts, func(b manifests.Artifact) bool {
				return b.Name == a.Name && b.Source.URL == a.Source.URL && c.Arches[a.Arch()].URL == a.Source.URL
			}) {
				return fmt.Sprintf("Kubernetes %s needs %s %s", lock.Minor, c.Name, c.Version)
			}
		}
		if a.Source.URL == fetch.SelfURL {
			return "the hosts and the mirror run offk8s"
		}
		return "pack.yaml or --add-file lists it"
	case manifests.KindChart:
		return "pack.yaml or --chart lists it"
	}
	d := lock.DistroData[a.Distro]
	switch {
	case slices.Contains(d.AllPackages(), a.Name):
		return "hosts of " + a.Distro + " need it"
	case slices.ContainsFunc(lock.Artifacts, func(b manifests.Artifact) bool { return b.RequiredBy != "" }):
		return "it, or something that it provides, is in the list of packages"
	default:
		return "not recorded: the bundle is of an older offk8s"
	}
}

func becauseImage(lock *manifests.Lock, a *manifests.Artifact) string {
	has := func(images map[string]catalog.Image) (string, bool) {
		for role, image := range images {
			if ref, err := fetch.ParseImage(image.Ref); err == nil && ref.Name == a.Name {
				return role, true
			}
		}
		return "", false
	}
	if role, ok := has(lock.Release.Images); ok {
		return fmt.Sprintf("Kubernetes %s needs it as %s", lock.Minor, role)
	}
	if role, ok := has(lock.CNIRelease.Images); ok {
		return fmt.Sprintf("the pod network %s needs it as %s", lock.CNI, role)
	}
	for _, addon := range lock.Addons {
		if role, ok := has(addon.Release.Images); ok {
			return fmt.Sprintf("the addon %s needs it as %s", addon.Name, role)
		}
	}
	for _, c := range lock.Artifacts {
		if c.Chart != nil && slices.Contains(c.Chart.Images, a.Name) {
			return fmt.Sprintf("the chart %s %s names it", c.Name, c.Version)
		}
	}
	if a.Source.URL == fetch.SmokeURL {
		return "the smoke test of install runs it"
	}
	return "pack.yaml or --image lists it"
}
