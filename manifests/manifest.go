package manifests

import "time"

// Manifest is what a bundle shall hold: the intent that `offk8s pack` resolves.
// It comes from flags or from the user's pack.yaml.
type Manifest struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`

	// Name of the bundle; empty means "kubernetes-<minor>".
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Kubernetes is a minor ("1.36") or a full version ("1.36.3") of the catalog.
	Kubernetes string `yaml:"kubernetes" json:"kubernetes"`
	// Arches in Go's spelling ("amd64", "arm64"); empty means the release's default.
	Arches []string `yaml:"arches,omitempty" json:"arches,omitempty"`
	// Distros are catalog names ("centos-7"); empty means the release's default.
	Distros []string `yaml:"distros,omitempty" json:"distros,omitempty"`
	// CNI and Runtime are catalog names; empty means the release's default.
	CNI     string `yaml:"cni,omitempty" json:"cni,omitempty"`
	Runtime string `yaml:"runtime,omitempty" json:"runtime,omitempty"`

	// Images are extra image references, Packages extra OS packages for every
	// distro, Files extra files.
	Images   []string    `yaml:"images,omitempty" json:"images,omitempty"`
	Packages []string    `yaml:"packages,omitempty" json:"packages,omitempty"`
	Files    []ExtraFile `yaml:"files,omitempty" json:"files,omitempty"`

	// Rewrites replace upstream URLs and registries; digests stay as they are.
	Rewrites []Rewrite `yaml:"rewrites,omitempty" json:"rewrites,omitempty"`
	// Keyrings name an OpenPGP keyring file per distro where the catalog has none.
	Keyrings map[string]string `yaml:"keyrings,omitempty" json:"keyrings,omitempty"`

	// Sequence grows with every bundle of the same name (rollback check);
	// zero means 1. Expires is optional, UTC.
	Sequence int64     `yaml:"sequence,omitempty" json:"sequence,omitempty"`
	Expires  time.Time `yaml:"expires,omitempty" json:"expires,omitzero"`
}

// ExtraFile is a file the user adds to a bundle. Digest may be sha256 or sha512.
type ExtraFile struct {
	Name   string `yaml:"name" json:"name"`
	URL    string `yaml:"url" json:"url"`
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
}

// Rewrite replaces the URL or registry prefix From by To.
type Rewrite struct {
	From string `yaml:"from" json:"from"`
	To   string `yaml:"to" json:"to"`
}
