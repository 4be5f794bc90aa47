package apt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"pault.ag/go/debian/version"

	"github.com/offk8s/offk8s/bundle/metadata"
)

// Package is one package of a suite as its Packages index describes it.
type Package struct {
	Name, Version, Arch string // Arch is Debian's: "amd64", "arm64", "all"
	Suite               string
	Filename            string        // path below the archive's URL, checked
	URL                 string        // archive URL and Filename; before any mirror rewrite
	Size                int64         // bytes of the .deb
	Digest              digest.Digest // sha256 of the .deb

	// Unusable is the reason why Closure never takes the package, or nil. Other
	// fields than Name may be empty then.
	Unusable error

	// RequiredBy is the package because of which Closure took this one first, and
	// Requirement its dependency; both are empty for a package of the list.
	RequiredBy, Requirement string

	version                      version.Version
	depends, provides, conflicts string // as written; parsed when needed
	priority                     string
}

// Path returns the path of the package in our repository:
// "pool/c/chrony/chrony_4.3-2_amd64.deb", without the epoch of the version, as
// everywhere in Debian.
func (p Package) Path() string { return poolPath(p.Name, p.Version, p.Arch) }

// poolPath returns the path of a package in our repository.
func poolPath(name, version, arch string) string {
	prefix := name[:min(1, len(name))]
	if strings.HasPrefix(name, "lib") && len(name) > 3 {
		prefix = name[:4]
	}
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	return "pool/" + prefix + "/" + name + "/" + name + "_" + version + "_" + arch + ".deb"
}

// String returns "name version arch".
func (p Package) String() string { return p.Name + " " + p.Version + " " + p.Arch }

// newPackage returns the package of a stanza. What is wrong with the stanza is a
// reason not to take the package, not a fault of the suite.
func newPackage(s *stanza, archiveURL, suite string) Package {
	p := Package{
		Name: s.get("Package"), Version: s.get("Version"), Arch: s.get("Architecture"),
		Suite: suite, Filename: s.get("Filename"), priority: s.get("Priority"),
		provides:  s.get("Provides"),
		depends:   joinRelations(s.get("Pre-Depends"), s.get("Depends")),
		conflicts: joinRelations(s.get("Conflicts"), s.get("Breaks")),
	}
	p.Unusable = p.check(s, archiveURL)
	return p
}

// check sets the fields that it can parse.
func (p *Package) check(s *stanza, archiveURL string) error {
	var err error
	if p.version, err = checkIdentity(p.Name, p.Version, p.Arch); err != nil {
		return err
	}
	if p.Size, err = strconv.ParseInt(s.get("Size"), 10, 64); err != nil || p.Size <= 0 {
		return fmt.Errorf("size %.40q", s.get("Size"))
	}
	p.Digest = digest.NewDigestFromEncoded(digest.SHA256, s.get("SHA256"))
	if err := p.Digest.Validate(); err != nil {
		return fmt.Errorf("SHA256 %.200q: %w", s.get("SHA256"), err)
	}
	if p.URL, err = metadata.Resolve(archiveURL, p.Filename); err != nil {
		return err
	}
	if !strings.HasSuffix(p.Filename, ".deb") {
		return fmt.Errorf("file name %q is no .deb", p.Filename)
	}
	return nil
}

// memory estimates the bytes that p takes.
func (p *Package) memory() int {
	const fixed = 512
	n := fixed + len(p.Name) + len(p.Version) + len(p.Filename) + len(p.URL) + len(p.depends) + len(p.provides) + len(p.conflicts)
	if p.Unusable != nil {
		n += len(p.Unusable.Error())
	}
	return n
}

func joinRelations(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// checkIdentity refuses names that could not be file names and parses the
// version (Debian policy 5.6.1, 5.6.12).
func checkIdentity(name, ver, arch string) (version.Version, error) {
	if name == "" || len(name) > 200 || !only(name, "+.-") || !alnum(rune(name[0])) {
		return version.Version{}, fmt.Errorf("package name %.250q", name)
	}
	if arch == "" || len(arch) > 60 || !only(arch, "-") {
		return version.Version{}, fmt.Errorf("architecture %.80q", arch)
	}
	if ver == "" || len(ver) > 200 || !only(ver, ".+-~:") || ver[0] == '.' {
		return version.Version{}, fmt.Errorf("version %.250q", ver)
	}
	v, err := version.Parse(ver)
	if err != nil {
		return version.Version{}, fmt.Errorf("version %q: %w", ver, err)
	}
	return v, nil
}

func alnum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// only reports whether s has only ASCII letters, digits and the characters of more.
func only(s, more string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !alnum(r) && !strings.ContainsRune(more, r) })
}
