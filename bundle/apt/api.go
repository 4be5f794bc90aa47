package apt

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

// Getter fetches metadata; bundle/fetch implements it with mirror rewrites,
// retries and time limits.
type Getter interface {
	// Get returns the body at url. An answer longer than limit bytes is an error
	// of Get or of a Read, never a silent cut. A missing file (HTTP 404) is an
	// error for which errors.Is(err, fs.ErrNotExist) holds.
	Get(ctx context.Context, url string, limit int64) (io.ReadCloser, error)
}

// Package is one package of a suite as its Packages index describes it.
type Package struct {
	Name, Version, Arch string // Arch is Debian's: "amd64", "arm64", "all"
	Suite               string
	Filename            string        // path below the archive's URL, checked
	URL                 string        // archive URL and Filename; before any mirror rewrite
	Size                int64         // bytes of the .deb
	Digest              digest.Digest // sha256 of the .deb
}

// Path returns where our repository keeps the package: "pool/c/chrony/chrony_4.3-2_amd64.deb".
func (p Package) Path() string { return "" }

// SuiteOptions say how strict ReadSuite is.
type SuiteOptions struct {
	Now              time.Time // what Valid-Until is compared with
	IgnoreValidUntil bool      // accept a Release past its Valid-Until
}

// Suite is a suite whose indexes for one architecture were read.
type Suite struct {
	Name     string
	Signer   string // fingerprint of the key that signed InRelease
	Packages []Package
}

// ReadSuite reads source's suite below archiveURL for arch ("amd64", "arm64").
func ReadSuite(ctx context.Context, g Getter, archiveURL string, source manifests.AptSource, arch string, keyring *trust.Keyring, o SuiteOptions) (*Suite, error) {
	return nil, errNotBuilt
}

// ClosureOptions say how Closure chooses.
type ClosureOptions struct {
	Arch    string   // "amd64" or "arm64"
	Exclude []string // globs on package names that are never taken
}

// Closure returns names and everything they depend on, sorted by name.
func Closure(suites []*Suite, names []string, o ClosureOptions) ([]Package, error) {
	return nil, errNotBuilt
}

// PackageMeta is what the index says of one package, from its own control file.
type PackageMeta struct {
	Name, Version, Arch string
	Digest              digest.Digest
	Size                int64
	Path                string
}

// FromDeb reads the control file of a package of the given size and digest,
// which our repository keeps at path (Package.Path).
func FromDeb(r io.ReaderAt, size int64, d digest.Digest, path string) (PackageMeta, error) {
	return PackageMeta{}, errNotBuilt
}

// MetadataOptions say how WriteMetadata writes.
type MetadataOptions struct {
	Created    time.Time // the Lock's; Date of Release
	ValidUntil time.Time // zero: no Valid-Until
	Arches     []string  // architectures that get an index even if empty
	// ClearSign makes InRelease, SignDetached Release.gpg; nil leaves the file out.
	ClearSign, SignDetached func([]byte) ([]byte, error)
}

// WriteMetadata returns the files below dists/offk8s by their path in the
// repository ("dists/offk8s/InRelease" …).
func WriteMetadata(packages []PackageMeta, o MetadataOptions) (map[string][]byte, error) {
	return nil, errNotBuilt
}

// HostSource is one archive of a machine's apt configuration.
type HostSource struct {
	URL        string // without a trailing slash
	Suites     []string
	Components []string
	SignedBy   string // keyring file or inline armoured key; may be empty
}

// SourcesFromHost reads etc/apt/sources.list and sources.list.d below root ("/").
func SourcesFromHost(root string) ([]HostSource, error) { return nil, errNotBuilt }

// ArchiveURL returns the URL under which sources have the catalog's archive
// ("debian", "debian-security"), looking for suite.
func ArchiveURL(sources []HostSource, archive, suite string) (string, bool) { return "", false }
