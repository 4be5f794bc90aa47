package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// since gives a value from a version on: that of the newest key which is not after
// the version. A nil value ends it.
type since[T any] map[string]T

// at returns the value for version, which is a minor or a full version.
func (s since[T]) at(version string) (T, bool) {
	var out T
	v, err := parse(version)
	best := catalog.Version{Major: -1}
	if err != nil {
		return out, false
	}
	for from, value := range s {
		f, err := parse(from)
		if err == nil && f.Compare(v) <= 0 && f.Compare(best) > 0 {
			best, out = f, value
		}
	}
	return out, best.Major >= 0
}

var leadingZero = regexp.MustCompile(`\.0+([0-9])`)

// parse reads a version, also one with leading zeros such as docker's 18.09.9.
func parse(version string) (catalog.Version, error) {
	return catalog.ParseVersion(leadingZero.ReplaceAllString(version, ".$1"))
}

// digests are the digests of a version by architecture, and the ids of the sources
// that have them.
type digests struct {
	AMD64  string   `yaml:"amd64"`
	ARM64  string   `yaml:"arm64"`
	Source []string `yaml:"source"`
}

func (d digests) arch(arch string) string {
	return map[string]string{"amd64": d.AMD64, "arm64": d.ARM64}[arch]
}

// patches is kubernetes.yaml.
type patches struct {
	APIVersion string             `yaml:"apiVersion"`
	Kind       string             `yaml:"kind"`
	Patches    map[string]digests `yaml:"patches"`
}

// component is an entry of components.yaml.
type component struct {
	Name     string             `yaml:"name"`
	URL      string             `yaml:"url"`
	Members  since[[]string]    `yaml:"members"` // by version of the component
	Versions map[string]digests `yaml:"versions"`
}

// downloads is components.yaml.
type downloads struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Sources    map[string]string `yaml:"sources"`
	Components []component       `yaml:"components"`
}

// images is images.yaml.
type images struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Sources    map[string]string `yaml:"sources"`
	Images     map[string]struct {
		Digest string `yaml:"digest"`
		Source string `yaml:"source"`
	} `yaml:"images"`
}

// minors is minors.yaml.
type minors struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Minors     map[string]struct {
		EndOfLife string `yaml:"endOfLife"`
	} `yaml:"minors"`
	Holes         map[string]string                    `yaml:"holes"` // first minor without it, by CVE
	Notes         since[*string]                       `yaml:"notes"`
	Distros       since[[]string]                      `yaml:"distros"`
	Arches        since[[]string]                      `yaml:"arches"`
	CNI           since[string]                        `yaml:"cni"`
	Runtime       since[string]                        `yaml:"runtime"`
	Versions      map[string]since[*string]            `yaml:"versions"`
	Images        map[string]since[*string]            `yaml:"images"`
	Args          map[string]map[string]since[*string] `yaml:"args"`
	KubeletConfig map[string]since[any]                `yaml:"kubeletConfig"`
	ProxyModes    since[map[string]string]             `yaml:"proxyModes"`
	Kernel        since[*string]                       `yaml:"kernel"`
	TestedKernel  since[*string]                       `yaml:"testedKernel"`
	Features      map[string]since[any]                `yaml:"features"`
}

// input is what the releases are made from.
type input struct {
	patches   patches
	downloads downloads
	images    images
	minors    minors
}

// readInput reads the input files in dir. The error has every problem with file and line.
func readInput(dir string) (*input, error) {
	in := &input{}
	return in, errors.Join(
		read(dir, "kubernetes.yaml", "Patches", &in.patches),
		read(dir, "components.yaml", "Downloads", &in.downloads),
		read(dir, "images.yaml", "Images", &in.images),
		read(dir, "minors.yaml", "Minors", &in.minors),
	)
}

func read(dir, name, kind string, v any) error {
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	d := strict.New(path, "offk8s.dev/v1", kind)
	d.Decode(data, v)
	return d.Err()
}

// byMinor returns the values of m at a minor, without those that have ended.
func byMinor[T any](m map[string]since[*T], minor string) map[string]T {
	out := map[string]T{}
	for k, s := range m {
		if v, ok := s.at(minor); ok && v != nil {
			out[k] = *v
		}
	}
	return out
}
