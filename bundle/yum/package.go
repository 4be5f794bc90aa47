package yum

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// NEVRA is the identity of a package. Epoch is decimal; "" and "0" are equal.
type NEVRA struct {
	Name, Epoch, Version, Release, Arch string
}

// EVR returns "epoch:version-release", without an epoch of zero: the Version
// of a Lock's artifact.
func (n NEVRA) EVR() string {
	evr := n.Version + "-" + n.Release
	if n.Epoch != "" && n.Epoch != "0" {
		return n.Epoch + ":" + evr
	}
	return evr
}

// String returns "name-epoch:version-release.arch", without an epoch of zero.
func (n NEVRA) String() string { return n.Name + "-" + n.EVR() + "." + n.Arch }

// FileName returns the usual file name, "name-version-release.arch.rpm".
func (n NEVRA) FileName() string {
	return n.Name + "-" + n.Version + "-" + n.Release + "." + n.Arch + ".rpm"
}

// Path returns where our repository keeps the package:
// "Packages/c/chrony-4.3-1.el9.x86_64.rpm".
func (n NEVRA) Path() string {
	first := "_"
	if n.Name != "" {
		first = strings.ToLower(n.Name[:1])
	}
	return "Packages/" + first + "/" + n.FileName()
}

// Package is one package of an upstream repository as its primary metadata
// describes it.
type Package struct {
	NEVRA
	Repo     string // id of the repository
	Location string // path below the repository's base URL, checked
	URL      string // base URL and Location; before any mirror rewrite
	// Elsewhere means that URL is not below the repository's base URL: the
	// package has an absolute xml:base.
	Elsewhere bool
	Size      int64         // bytes of the .rpm
	Digest    digest.Digest // of the .rpm, sha256 or sha512

	Provides, Requires, Conflicts, Obsoletes []Relation
	// Files are those that primary lists; filelists has the rest.
	Files []string

	// Unusable is the reason why Closure never takes the package, or nil. Fields
	// other than NEVRA and the relations may be empty then.
	Unusable error

	// RequiredBy is the package because of which Closure took this one first, and
	// Requirement its dependency; both are empty for a package of the list.
	RequiredBy, Requirement string

	priority int
	pkgid    string
}

// Relation is one entry of provides, requires, conflicts or obsoletes. Op is
// "", "=", "<", "<=", ">" or ">="; a rich dependency has its text in Name.
type Relation struct {
	Name                    string
	Op                      string
	Epoch, Version, Release string
	Pre                     bool // needed before installation
}
