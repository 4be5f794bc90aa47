package yum

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// defaultPriority is yum's: repositories without one come after those with.
const defaultPriority = 99

// Repo is an upstream repository with the packages of one architecture and
// noarch, in the order of its primary metadata.
type Repo struct {
	ID       string
	BaseURL  string // without a trailing slash, "{arch}" replaced
	Priority int    // lower is preferred
	Packages []Package

	getter  metadata.Getter
	md      *repomd
	modules modules
}

// ReadRepo reads the repository's metadata for arch ("x86_64", "aarch64"): the
// signature of repomd.xml (required if source is marked as signed, else checked
// if there is one), then primary by size and digest. Memory is bounded by the
// packages that are kept. Errors name the file; errors.Is them with
// metadata.ErrAltered if the repository cannot be trusted. A fault of a single
// package is no error: see Package.Unusable.
func ReadRepo(ctx context.Context, g metadata.Getter, source catalog.YumRepository, arch string, keyring *trust.Keyring) (*Repo, error) {
	r := &Repo{
		ID:       source.ID,
		BaseURL:  strings.TrimRight(strings.ReplaceAll(source.BaseURL, "{arch}", arch), "/"),
		Priority: cmp.Or(source.Priority, defaultPriority),
		getter:   g,
	}
	if err := r.failure(r.read(ctx, arch, keyring, source.SignedMetadata)); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Repo) read(ctx context.Context, arch string, keyring *trust.Keyring, signed bool) error {
	var err error
	if r.md, err = readRepomd(ctx, r.getter, r.BaseURL, keyring, signed); err != nil {
		return err
	}
	if r.md.has(kindModules) {
		if err := r.each(ctx, kindModules, r.readModules); err != nil {
			return err
		}
	}
	return r.each(ctx, kindPrimary, func(content io.Reader) error {
		return r.readPrimary(content, arch)
	})
}

// each opens one metadata file and hands its content to read.
func (r *Repo) each(ctx context.Context, kind string, read func(io.Reader) error) error {
	entry, err := r.md.find(kind)
	if err != nil {
		return err
	}
	content, finish, err := entry.open(ctx, r.getter, r.BaseURL)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := read(content); err != nil {
		return fmt.Errorf("parse %s: %w", kind, err)
	}
	return finish()
}

// primaryPackage is a <package> of primary as far as it is needed.
type primaryPackage struct {
	Type     string      `xml:"type,attr"`
	Name     string      `xml:"name"`
	Arch     string      `xml:"arch"`
	Version  xmlVersion  `xml:"version"`
	Checksum xmlChecksum `xml:"checksum"`
	Size     struct {
		Package string `xml:"package,attr"`
	} `xml:"size"`
	Location struct {
		Href string `xml:"href,attr"`
		Base string `xml:"base,attr"`
	} `xml:"location"`
	Format struct {
		Provides  []xmlEntry `xml:"provides>entry"`
		Requires  []xmlEntry `xml:"requires>entry"`
		Conflicts []xmlEntry `xml:"conflicts>entry"`
		Obsoletes []xmlEntry `xml:"obsoletes>entry"`
		Files     []string   `xml:"file"`
	} `xml:"format"`
}

type xmlVersion struct {
	Epoch   string `xml:"epoch,attr"`
	Version string `xml:"ver,attr"`
	Release string `xml:"rel,attr"`
}

type xmlEntry struct {
	Name    string `xml:"name,attr"`
	Flags   string `xml:"flags,attr"`
	Epoch   string `xml:"epoch,attr"`
	Version string `xml:"ver,attr"`
	Release string `xml:"rel,attr"`
	Pre     string `xml:"pre,attr"`
}

func (r *Repo) readPrimary(content io.Reader, arch string) error {
	words := &intern{known: map[string]string{}}
	var budget metadata.Budget
	return eachElement(newDecoder(content), "metadata", "package", func(d *decoder, start xml.StartElement) error {
		if err := budget.Package(); err != nil {
			return err
		}
		var x primaryPackage
		if err := decodeElement(d, &x, &start); err != nil {
			return err
		}
		if !runsOn(x.Arch, arch) {
			return nil
		}
		before := words.bytes
		p := r.newPackage(&x, words)
		r.Packages = append(r.Packages, p)
		return budget.Keep(p.memory() + words.bytes - before)
	})
}

// memory estimates the bytes that p takes, without the strings of intern.
func (p *Package) memory() int {
	const fixed, relation, file = 512, 112, 16
	n := fixed + len(p.Location) + len(p.URL) + len(p.pkgid) + file*len(p.Files)
	if p.Unusable != nil {
		n += len(p.Unusable.Error())
	}
	return n + relation*(len(p.Provides)+len(p.Requires)+len(p.Conflicts)+len(p.Obsoletes))
}

// newPackage returns the package of an entry. What is wrong with the entry is a
// reason not to take the package, not a fault of the repository.
func (r *Repo) newPackage(x *primaryPackage, words *intern) Package {
	p := Package{
		NEVRA: NEVRA{
			Name: words.get(x.Name), Epoch: words.get(x.Version.Epoch), Version: words.get(x.Version.Version),
			Release: words.get(x.Version.Release), Arch: words.get(x.Arch),
		},
		Repo:     r.ID,
		Location: x.Location.Href,
		priority: r.Priority,
		pkgid:    strings.ToLower(strings.TrimSpace(x.Checksum.Value)),
	}
	p.Unusable = errors.Join(p.NEVRA.validate(), p.locate(x, r.BaseURL))
	for _, list := range []struct {
		to   *[]Relation
		from []xmlEntry
	}{
		{&p.Provides, x.Format.Provides},
		{&p.Requires, x.Format.Requires},
		{&p.Conflicts, x.Format.Conflicts},
		{&p.Obsoletes, x.Format.Obsoletes},
	} {
		var err error
		*list.to, err = words.relations(list.from)
		p.Unusable = errors.Join(p.Unusable, err)
	}
	for _, f := range x.Format.Files {
		p.Files = append(p.Files, words.get(f))
	}
	return p
}

// locate sets the fields for the download of p from a repository at base.
func (p *Package) locate(x *primaryPackage, base string) error {
	var err error
	if p.Digest, err = x.Checksum.digest(); err != nil {
		return err
	}
	if p.Size, err = strconv.ParseInt(x.Size.Package, 10, 64); err != nil || p.Size <= 0 {
		return fmt.Errorf("size %.40q", x.Size.Package)
	}
	if x.Location.Base != "" {
		own := base
		if base, err = otherBase(x.Location.Base, own); err != nil {
			return err
		}
		p.Elsewhere = !strings.HasPrefix(base+"/", own+"/")
	}
	if p.URL, err = metadata.Resolve(base, p.Location); err != nil {
		return err
	}
	if !strings.HasSuffix(p.Location, ".rpm") {
		return fmt.Errorf("location %q is no .rpm", p.Location)
	}
	return nil
}

// otherBase checks the xml:base of a package, which dnf puts in the place of the
// repository's base URL, and returns it without a trailing slash.
func otherBase(xmlBase, base string) (string, error) {
	u, err := url.Parse(xmlBase)
	switch {
	case err != nil || u.Host == "" || strings.ContainsFunc(xmlBase, strict.Unprintable):
		return "", fmt.Errorf("xml:base %.600q is not an absolute URL", xmlBase)
	case u.User != nil || strings.ContainsAny(xmlBase, "?#"):
		return "", fmt.Errorf("xml:base %.600q: want no name, password, query or fragment", u.Redacted())
	case u.Scheme != "https" && (u.Scheme != "http" || !strings.HasPrefix(base, "http://")):
		return "", fmt.Errorf("xml:base %.600q: want https", xmlBase)
	}
	if dir := strings.Trim(u.Path, "/"); dir != "" {
		if err := metadata.CheckPath(dir); err != nil {
			return "", fmt.Errorf("xml:base: %w", err)
		}
	}
	return strings.TrimRight(xmlBase, "/"), nil
}

// validate refuses identities that could not be file names.
func (n NEVRA) validate() error {
	for _, part := range []struct{ what, value string }{
		{"name", n.Name},
		{"version", n.Version},
		{"release", n.Release},
		{"arch", n.Arch},
	} {
		bad := strings.ContainsFunc(part.value, func(r rune) bool {
			return !(r < 0x7f && (isDigit(byte(r)) || isLetter(byte(r)) || strings.ContainsRune("._+-~^", r)))
		})
		if part.value == "" || bad || len(part.value) > 200 || strings.HasPrefix(part.value, ".") {
			return fmt.Errorf("%s %.250q", part.what, part.value)
		}
	}
	if strings.ContainsAny(n.Version+n.Release+n.Arch, "-") {
		return fmt.Errorf("version %q-%q has a dash", n.Version, n.Release)
	}
	if strings.Trim(n.Epoch, "0123456789") != "" || len(n.Epoch) > 10 {
		return fmt.Errorf("epoch %.40q", n.Epoch)
	}
	return nil
}

// intern keeps one copy of the strings that repeat thousands of times.
type intern struct {
	known map[string]string
	bytes int // estimate, with the map
}

func (m *intern) get(s string) string {
	if have, ok := m.known[s]; ok {
		return have
	}
	s = strings.Clone(s)
	m.known[s] = s
	m.bytes += len(s) + 64
	return s
}

var operators = map[string]string{"": "", "EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}

// relations returns the valid entries, and an error that names an invalid one. A
// capability of rpm itself is left out.
func (m *intern) relations(entries []xmlEntry) ([]Relation, error) {
	var bad error
	out := make([]Relation, 0, len(entries))
	for _, e := range entries {
		if strings.HasPrefix(e.Name, "rpmlib(") {
			continue
		}
		op, ok := operators[e.Flags]
		if !ok || e.Name == "" {
			bad = fmt.Errorf("relation %.200q with flags %.200q", e.Name, e.Flags)
			continue
		}
		out = append(out, Relation{
			Name: m.get(e.Name), Op: op, Pre: e.Pre == "1",
			Epoch: m.get(e.Epoch), Version: m.get(e.Version), Release: m.get(e.Release),
		})
	}
	return out, bad
}

// filelistsPackage is a <package> of filelists.
type filelistsPackage struct {
	ID    string   `xml:"pkgid,attr"`
	Files []string `xml:"file"`
}

// addFiles looks the wanted paths up in filelists and adds those found to the
// packages that have them.
func (r *Repo) addFiles(ctx context.Context, wanted map[string]bool) error {
	return r.failure(r.each(ctx, kindFilelists, func(content io.Reader) error {
		return r.readFilelists(content, wanted)
	}))
}

func (r *Repo) readFilelists(content io.Reader, wanted map[string]bool) error {
	byID := make(map[string]int, len(r.Packages))
	for i := range r.Packages {
		id := r.Packages[i].pkgid
		if first, twice := byID[id]; !twice || r.Packages[first].Unusable != nil {
			byID[id] = i
		}
	}
	return eachElement(newDecoder(content), "filelists", "package", func(d *decoder, start xml.StartElement) error {
		var x filelistsPackage
		if err := decodeElement(d, &x, &start); err != nil {
			return err
		}
		i, known := byID[strings.ToLower(x.ID)]
		if !known {
			return nil
		}
		for _, f := range x.Files {
			if wanted[f] {
				r.Packages[i].Files = append(r.Packages[i].Files, f)
			}
		}
		return nil
	})
}

// failure names the repository in an error of reading it.
func (r *Repo) failure(err error) error {
	if err == nil {
		return nil
	}
	return metadata.Classify(fmt.Errorf("yum repository %q: %w", r.ID, err))
}
