package apt

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"pault.ag/go/debian/version"

	"github.com/offk8s/offk8s/bundle/metadata"
)

// suiteName is the suite of the repository we write: "dists/offk8s", with the
// one component "main".
const suiteName = "offk8s"

// Paths of the file that lists all other metadata, and of its signatures: one that
// contains the file, and one beside it.
const (
	ReleasePath   = "dists/" + suiteName + "/Release"
	InReleasePath = "dists/" + suiteName + "/InRelease"
	DetachedPath  = ReleasePath + ".gpg"
)

// MetadataOptions say how WriteMetadata writes.
type MetadataOptions struct {
	Created    time.Time // the Lock's; Date of Release
	ValidUntil time.Time // zero: no Valid-Until
	Arches     []string  // architectures that get an index even if empty ("amd64")
}

// WriteMetadata returns the files below dists/offk8s by their path in the
// repository (ReleasePath …), unsigned. Packages of architecture "all" stand
// in the index of every architecture. The same packages and options give the
// same bytes, in whatever order the packages are.
func WriteMetadata(packages []PackageMeta, o MetadataOptions) (map[string][]byte, error) {
	packages = slices.Clone(packages)
	slices.SortFunc(packages, comparePackages)
	arches := slices.Clone(o.Arches)
	seen := map[string]bool{}
	for _, p := range packages {
		if p.control == nil {
			return nil, fmt.Errorf("write apt metadata: %q: not read by FromDeb", p.Path)
		}
		if err := metadata.CheckPath(p.Path); err != nil {
			return nil, fmt.Errorf("write apt metadata: %w", err)
		}
		if seen[p.Path] {
			return nil, fmt.Errorf("write apt metadata: %q twice", p.Path)
		}
		seen[p.Path] = true
		if p.Arch != "all" {
			arches = append(arches, p.Arch)
		}
	}
	slices.Sort(arches)
	arches = slices.Compact(arches)
	index := map[string][]byte{}
	for _, arch := range arches {
		name := "main/binary-" + arch + "/Packages"
		index[name] = writePackages(packages, arch)
		packed, err := metadata.Gzip(index[name])
		if err != nil {
			return nil, fmt.Errorf("write apt metadata: %w", err)
		}
		index[name+".gz"] = packed
	}
	out := map[string][]byte{ReleasePath: writeRelease(index, arches, o)}
	for name, b := range index {
		out["dists/"+suiteName+"/"+name] = b
	}
	return out, nil
}

func comparePackages(a, b PackageMeta) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	va, errA := version.Parse(a.Version)
	vb, errB := version.Parse(b.Version)
	if errA == nil && errB == nil {
		if c := version.Compare(va, vb); c != 0 {
			return c
		}
	}
	return strings.Compare(a.Path, b.Path)
}

// writePackages returns the Packages file of one architecture: the control
// files unchanged, each followed by file name, size and digests.
func writePackages(packages []PackageMeta, arch string) []byte {
	var out bytes.Buffer
	for _, p := range packages {
		if p.Arch != arch && p.Arch != "all" {
			continue
		}
		for _, f := range p.control.fields {
			switch strings.ToLower(f.name) {
			case "filename", "size", "sha256", "sha512", "sha1", "md5sum", "status", "conffiles":
				continue // not for a control file; ours follow
			}
			writeField(&out, f.name, f.value)
		}
		writeField(&out, "Filename", p.Path)
		writeField(&out, "Size", strconv.FormatInt(p.Size, 10))
		writeField(&out, "SHA256", p.Digest.Encoded())
		out.WriteByte('\n')
	}
	return out.Bytes()
}

func writeField(out *bytes.Buffer, name, value string) {
	out.WriteString(name)
	out.WriteByte(':')
	if value != "" && !strings.HasPrefix(value, "\n") {
		out.WriteByte(' ')
	}
	out.WriteString(value)
	out.WriteByte('\n')
}

// writeRelease returns the Release file.
func writeRelease(index map[string][]byte, arches []string, o MetadataOptions) []byte {
	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	var out bytes.Buffer
	writeField(&out, "Origin", "offk8s")
	writeField(&out, "Label", "offk8s")
	writeField(&out, "Suite", suiteName)
	writeField(&out, "Codename", suiteName)
	writeField(&out, "Date", o.Created.UTC().Format(layout))
	if !o.ValidUntil.IsZero() {
		writeField(&out, "Valid-Until", o.ValidUntil.UTC().Format(layout))
	}
	writeField(&out, "Architectures", strings.Join(arches, " "))
	writeField(&out, "Components", "main")
	writeField(&out, "Description", "packages of an offk8s bundle")
	var sums strings.Builder
	for _, name := range slices.Sorted(maps.Keys(index)) {
		fmt.Fprintf(&sums, "\n %s %d %s", digest.FromBytes(index[name]).Encoded(), len(index[name]), name)
	}
	writeField(&out, "SHA256", sums.String())
	return out.Bytes()
}
