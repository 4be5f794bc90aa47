package yum

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"
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

	getter metadata.Getter
	md     *repomd
}

// ReadRepo reads the repository's metadata for arch ("x86_64", "aarch64"): the
// signature of repomd.xml (required if source is marked as signed, else checked
// if there is one), then primary by size and digest. Memory is bounded by the
// packages that are kept. Errors name the file.
func ReadRepo(ctx context.Context, g metadata.Getter, source catalog.YumRepository, arch string, keyring *trust.Keyring) (*Repo, error) {
	r := &Repo{
		ID:       source.ID,
		BaseURL:  strings.TrimRight(strings.ReplaceAll(source.BaseURL, "{arch}", arch), "/"),
		Priority: cmp.Or(source.Priority, defaultPriority),
		getter:   g,
	}
	if err := r.read(ctx, arch, keyring, source.SignedMetadata); err != nil {
		return nil, fmt.Errorf("yum repository %q: %w", source.ID, err)
	}
	return r, nil
}

func (r *Repo) read(ctx context.Context, arch string, keyring *trust.Keyring, signed bool) error {
	var err error
	if r.md, err = readRepomd(ctx, r.getter, r.BaseURL, keyring, signed); err != nil {
		return err
	}
	return r.each(ctx, "primary", func(content io.Reader) error {
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
		Package int64 `xml:"package,attr"`
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
	words := intern{}
	count := 0
	return eachElement(newDecoder(content), "metadata", "package", func(d *decoder, start xml.StartElement) error {
		if count++; count > metadata.MaxPackages {
			return fmt.Errorf("more than %d packages", metadata.MaxPackages)
		}
		var x primaryPackage
		if err := decodeElement(d, &x, &start); err != nil {
			return err
		}
		if x.Arch != arch && x.Arch != "noarch" {
			return nil
		}
		p, err := r.newPackage(&x, words)
		if err != nil {
			return fmt.Errorf("package %q: %w", x.Name, err)
		}
		r.Packages = append(r.Packages, p)
		return nil
	})
}

func (r *Repo) newPackage(x *primaryPackage, words intern) (Package, error) {
	p := Package{
		NEVRA: NEVRA{
			Name: words.get(x.Name), Epoch: words.get(x.Version.Epoch), Version: words.get(x.Version.Version),
			Release: words.get(x.Version.Release), Arch: words.get(x.Arch),
		},
		Repo:     r.ID,
		Location: x.Location.Href,
		Size:     x.Size.Package,
		priority: r.Priority,
		pkgid:    strings.ToLower(strings.TrimSpace(x.Checksum.Value)),
	}
	if err := p.NEVRA.validate(); err != nil {
		return Package{}, err
	}
	var err error
	if p.Digest, err = x.Checksum.digest(); err != nil {
		return Package{}, err
	}
	if p.Size <= 0 {
		return Package{}, fmt.Errorf("size %d", p.Size)
	}
	if x.Location.Base != "" {
		return Package{}, fmt.Errorf("xml:base %q, refused", x.Location.Base)
	}
	if p.URL, err = metadata.Resolve(r.BaseURL, p.Location); err != nil {
		return Package{}, err
	}
	if !strings.HasSuffix(p.Location, ".rpm") {
		return Package{}, fmt.Errorf("location %q is no .rpm", p.Location)
	}
	for _, list := range []struct {
		to   *[]Relation
		from []xmlEntry
	}{
		{&p.Provides, x.Format.Provides},
		{&p.Requires, x.Format.Requires},
		{&p.Conflicts, x.Format.Conflicts},
		{&p.Obsoletes, x.Format.Obsoletes},
	} {
		if *list.to, err = words.relations(list.from); err != nil {
			return Package{}, err
		}
	}
	for _, f := range x.Format.Files {
		p.Files = append(p.Files, words.get(f))
	}
	return p, nil
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
			return fmt.Errorf("%s %q", part.what, part.value)
		}
	}
	if strings.ContainsAny(n.Version+n.Release+n.Arch, "-") {
		return fmt.Errorf("version %q-%q has a dash", n.Version, n.Release)
	}
	if strings.Trim(n.Epoch, "0123456789") != "" || len(n.Epoch) > 10 {
		return fmt.Errorf("epoch %q", n.Epoch)
	}
	return nil
}

// intern keeps one copy of the strings that repeat thousands of times.
type intern map[string]string

func (m intern) get(s string) string {
	if have, ok := m[s]; ok {
		return have
	}
	s = strings.Clone(s)
	m[s] = s
	return s
}

var operators = map[string]string{"": "", "EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}

func (m intern) relations(entries []xmlEntry) ([]Relation, error) {
	out := make([]Relation, 0, len(entries))
	for _, e := range entries {
		op, ok := operators[e.Flags]
		if !ok || e.Name == "" {
			return nil, fmt.Errorf("relation %q with flags %q", e.Name, e.Flags)
		}
		out = append(out, Relation{
			Name: m.get(e.Name), Op: op, Pre: e.Pre == "1",
			Epoch: m.get(e.Epoch), Version: m.get(e.Version), Release: m.get(e.Release),
		})
	}
	return out, nil
}

// filelistsPackage is a <package> of filelists.
type filelistsPackage struct {
	ID    string   `xml:"pkgid,attr"`
	Files []string `xml:"file"`
}

// addFiles looks the wanted paths up in filelists and adds those found to the
// packages that have them.
func (r *Repo) addFiles(ctx context.Context, wanted map[string]bool) error {
	byID := make(map[string]int, len(r.Packages))
	for i := range r.Packages {
		byID[r.Packages[i].pkgid] = i
	}
	err := r.each(ctx, "filelists", func(content io.Reader) error {
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
	})
	if err != nil {
		return fmt.Errorf("yum repository %q: %w", r.ID, err)
	}
	return nil
}
