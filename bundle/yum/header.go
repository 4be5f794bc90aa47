package yum

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/rpm"
)

// Tags of the header (rpm 4.18, include/rpm/rpmtag.h).
const (
	tagName, tagVersion, tagRelease, tagEpoch, tagArch          = 1000, 1001, 1002, 1003, 1022
	tagSummary, tagDescription, tagGroup, tagURL, tagLicense    = 1004, 1005, 1016, 1020, 1014
	tagVendor, tagPackager, tagBuildHost, tagBuildTime          = 1011, 1015, 1007, 1006
	tagSourceRPM, tagSize, tagLongSize                          = 1044, 1009, 5009
	tagFileModes, tagFileFlags                                  = 1030, 1037
	tagDirIndexes, tagBaseNames, tagDirNames                    = 1116, 1117, 1118
	tagChangelogTime, tagChangelogName, tagChangelogText        = 1080, 1081, 1082
	tagRequireFlags, tagRequireName, tagRequireVersion          = 1048, 1049, 1050
	tagProvideName, tagProvideFlags, tagProvideVersion          = 1047, 1112, 1113
	tagConflictName, tagConflictFlags, tagConflictVersion       = 1054, 1053, 1055
	tagObsoleteName, tagObsoleteFlags, tagObsoleteVersion       = 1090, 1114, 1115
	tagRecommendName, tagRecommendVersion, tagRecommendFlags    = 5046, 5047, 5048
	tagSuggestName, tagSuggestVersion, tagSuggestFlags          = 5049, 5050, 5051
	tagSupplementName, tagSupplementVersion, tagSupplementFlags = 5052, 5053, 5054
	tagEnhanceName, tagEnhanceVersion, tagEnhanceFlags          = 5055, 5056, 5057
)

// Bits of a relation's flags and of file flags and modes.
const (
	senseLess, senseGreater, senseEqual = 1 << 1, 1 << 2, 1 << 3
	sensePre                            = 1<<6 | 1<<9 | 1<<10 // prereq, %pre, %post
	fileGhost                           = 1 << 6
	modeType, modeDir                   = 0o170000, 0o040000
)

// PackageMeta holds the metadata of one package, read from its header.
type PackageMeta struct {
	NEVRA
	Digest   digest.Digest // sha256 of the .rpm; also its pkgid
	Size     int64         // bytes of the .rpm
	Location string        // path in our repository

	summary, description, url, packager        string
	license, vendor, group, buildHost, source  string
	buildTime, installed, archive              uint64
	headerStart, headerEnd                     int64
	provides, requires, conflicts, obsoletes   []Relation
	suggests, enhances, recommends, supplement []Relation
	files                                      []metaFile
	changelog                                  []change
}

type metaFile struct {
	path string
	kind string // "", "dir" or "ghost"
}

type change struct {
	author, text string
	time         uint64
}

// FromRPM reads the header of a package of the given size and digest, which
// our repository keeps at location (NEVRA.Path). It verifies nothing: callers
// call trust.VerifyRPM first and compare the NEVRA with the expected one, so
// that a signed package of another name or version cannot stand in for it.
func FromRPM(r io.ReaderAt, size int64, d digest.Digest, location string) (PackageMeta, error) {
	p, err := rpm.Read(r, size)
	if err != nil {
		return PackageMeta{}, fmt.Errorf("package %q: %w", location, err)
	}
	return FromHeader(p, size, d, location)
}

// FromHeader is FromRPM for a package whose headers have been read.
func FromHeader(p *rpm.File, size int64, d digest.Digest, location string) (PackageMeta, error) {
	if d.Algorithm() != digest.SHA256 {
		return PackageMeta{}, fmt.Errorf("package %q: digest %q, want sha256", location, d)
	}
	m, err := fromHeader(p)
	if err != nil {
		return PackageMeta{}, fmt.Errorf("package %q: %w", location, err)
	}
	m.Digest, m.Size, m.Location = d, size, location
	return m, nil
}

func readNEVRA(h rpm.Header) NEVRA {
	n := NEVRA{
		Name: h.String(tagName), Version: h.String(tagVersion), Release: h.String(tagRelease),
		Epoch: strconv.FormatUint(h.Int(tagEpoch), 10), Arch: h.String(tagArch),
	}
	if !h.Has(tagSourceRPM) {
		n.Arch = "src"
	}
	return n
}

func fromHeader(p *rpm.File) (PackageMeta, error) {
	h := p.Header
	m := PackageMeta{
		NEVRA:   readNEVRA(h),
		summary: h.String(tagSummary), description: h.String(tagDescription),
		url: h.String(tagURL), packager: h.String(tagPackager),
		license: h.String(tagLicense), vendor: h.String(tagVendor), group: h.String(tagGroup),
		buildHost: h.String(tagBuildHost), source: h.String(tagSourceRPM),
		buildTime: h.Int(tagBuildTime), installed: h.Int(tagSize), archive: p.ArchiveSize(),
		headerStart: p.HeaderStart, headerEnd: p.HeaderEnd,
	}
	if h.Has(tagLongSize) {
		m.installed = h.Int(tagLongSize)
	}
	if err := m.NEVRA.validate(); err != nil {
		return PackageMeta{}, err
	}
	var err error
	if m.files, err = readFiles(h); err != nil {
		return PackageMeta{}, err
	}
	for _, list := range []struct {
		to                   *[]Relation
		name, flags, version uint32
	}{
		{&m.provides, tagProvideName, tagProvideFlags, tagProvideVersion},
		{&m.requires, tagRequireName, tagRequireFlags, tagRequireVersion},
		{&m.conflicts, tagConflictName, tagConflictFlags, tagConflictVersion},
		{&m.obsoletes, tagObsoleteName, tagObsoleteFlags, tagObsoleteVersion},
		{&m.suggests, tagSuggestName, tagSuggestFlags, tagSuggestVersion},
		{&m.enhances, tagEnhanceName, tagEnhanceFlags, tagEnhanceVersion},
		{&m.recommends, tagRecommendName, tagRecommendFlags, tagRecommendVersion},
		{&m.supplement, tagSupplementName, tagSupplementFlags, tagSupplementVersion},
	} {
		if *list.to, err = readRelations(h, list.name, list.flags, list.version); err != nil {
			return PackageMeta{}, err
		}
	}
	m.requires = m.ownRequires()
	m.changelog = readChangelog(h)
	return m, nil
}

// readRelations reads the three parallel arrays of a kind of relation.
func readRelations(h rpm.Header, name, flags, version uint32) ([]Relation, error) {
	names, bits, versions := h.Strings(name), h.Ints(flags), h.Strings(version)
	if len(names) != len(bits) || len(names) != len(versions) {
		return nil, fmt.Errorf("tag %d: %d names, %d flags, %d versions", name, len(names), len(bits), len(versions))
	}
	out := make([]Relation, 0, len(names))
	for i, n := range names {
		r := Relation{Name: n, Pre: bits[i]&sensePre != 0}
		if bits[i]&senseLess != 0 {
			r.Op = "<"
		}
		if bits[i]&senseGreater != 0 {
			r.Op = ">"
		}
		if bits[i]&senseEqual != 0 {
			r.Op += "="
		}
		if r.Op != "" {
			r.Epoch, r.Version, r.Release = parseEVR(versions[i])
			r.Epoch = epoch(r.Epoch)
		}
		out = append(out, r)
	}
	return out, nil
}

// ownRequires returns the requirements without those that createrepo_c drops
// too: rpmlib features, files of the package that primary lists, requirements
// that the package itself provides, and repetitions.
// Unlike createrepo_c it keeps every version of libc.so.6, not the highest only.
func (m *PackageMeta) ownRequires() []Relation {
	own, last := map[Relation]bool{}, map[string]Relation{}
	for _, f := range m.files {
		if isPrimaryFile(f.path) {
			own[Relation{Name: f.path}] = true
		}
	}
	for _, p := range m.provides {
		p.Pre = false
		own[p] = true
	}
	out := make([]Relation, 0, len(m.requires))
	for _, r := range m.requires {
		plain := r
		plain.Pre = false
		previous, seen := last[r.Name]
		if strings.HasPrefix(r.Name, "rpmlib(") || own[plain] || seen && previous == r {
			continue
		}
		last[r.Name] = r
		out = append(out, r)
	}
	return out
}

// readFiles joins directories and base names.
func readFiles(h rpm.Header) ([]metaFile, error) {
	dirs, bases, indexes := h.Strings(tagDirNames), h.Strings(tagBaseNames), h.Ints(tagDirIndexes)
	modes, flags := h.Ints(tagFileModes), h.Ints(tagFileFlags)
	if len(bases) != len(indexes) || len(bases) != len(modes) || len(bases) != len(flags) {
		return nil, fmt.Errorf("%d files, %d directory indexes, %d modes, %d flags", len(bases), len(indexes), len(modes), len(flags))
	}
	out := make([]metaFile, 0, len(bases))
	for i, base := range bases {
		if indexes[i] >= uint64(len(dirs)) {
			return nil, errors.New("directory index outside the directories")
		}
		f := metaFile{path: dirs[indexes[i]] + base}
		switch {
		case modes[i]&modeType == modeDir:
			f.kind = "dir"
		case flags[i]&fileGhost != 0:
			f.kind = "ghost"
		}
		out = append(out, f)
	}
	return out, nil
}

// isPrimaryFile reports whether primary lists the file; most file
// dependencies are about such files.
func isPrimaryFile(p string) bool {
	return strings.HasPrefix(p, "/etc/") || p == "/usr/lib/sendmail" || strings.Contains(p, "bin/")
}

// maxChanges is how many changelog entries metadata has, as with createrepo_c.
const maxChanges = 10

// readChangelog returns the newest entries, oldest first.
func readChangelog(h rpm.Header) []change {
	times, names, texts := h.Ints(tagChangelogTime), h.First(tagChangelogName, maxChanges), h.First(tagChangelogText, maxChanges)
	var out []change
	for i := min(len(times), len(names), len(texts)) - 1; i >= 0; i-- {
		out = append(out, change{author: names[i], text: texts[i], time: times[i]})
	}
	return out
}
