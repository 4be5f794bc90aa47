package yum

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

var errNotBuilt = errors.New("not built")

// Repo is an upstream repository whose primary metadata was read.
type Repo struct {
	ID       string
	BaseURL  string
	Packages []Package
}

// ReadRepo reads the repository's metadata for arch ("x86_64", "aarch64").
func ReadRepo(ctx context.Context, g Getter, source manifests.YumRepository, arch string, keyring *trust.Keyring) (*Repo, error) {
	return nil, errNotBuilt
}

// ClosureOptions say how Closure chooses.
type ClosureOptions struct {
	Arch    string   // "x86_64" or "aarch64"; other architectures than this and noarch are left out
	Exclude []string // globs on package names that are never taken
}

// Closure returns names and everything they require, sorted by NEVRA.
func Closure(ctx context.Context, repos []*Repo, names []string, o ClosureOptions) ([]Package, error) {
	return nil, errNotBuilt
}

// PackageMeta is what the metadata says of one package, from its own header.
type PackageMeta struct {
	NEVRA
	Digest   digest.Digest
	Size     int64
	Location string
}

// FromRPM reads the header of a package of the given size and digest, which
// our repository keeps at location (NEVRA.Path).
func FromRPM(r io.ReaderAt, size int64, d digest.Digest, location string) (PackageMeta, error) {
	return PackageMeta{}, errNotBuilt
}

// MetadataOptions say how WriteMetadata writes.
type MetadataOptions struct {
	Compression string    // "gz" (EL7) or "zst"
	Created     time.Time // the Lock's; revision and every timestamp
	// Sign makes repodata/repomd.xml.asc; nil leaves it out.
	Sign func([]byte) ([]byte, error)
}

// WriteMetadata returns the files of repodata by their path in the repository
// ("repodata/repomd.xml" …).
func WriteMetadata(packages []PackageMeta, o MetadataOptions) (map[string][]byte, error) {
	return nil, errNotBuilt
}
