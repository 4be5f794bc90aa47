package yum

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/manifests/strict"
)

// MetadataOptions say how WriteMetadata writes.
type MetadataOptions struct {
	Compression string    // "gz" (EL7) or "zst"
	Created     time.Time // the Lock's; revision and every timestamp
}

// RepomdPath is the path of the file that lists all other metadata: signing it, as
// RepomdPath+".asc", signs the repository.
const RepomdPath = "repodata/repomd.xml"

// WriteMetadata returns the files of repodata by their path in the repository
// (RepomdPath …), unsigned. The same packages and options give the same bytes,
// in whatever order the packages are.
func WriteMetadata(packages []PackageMeta, o MetadataOptions) (map[string][]byte, error) {
	ordered, err := inOrder(packages)
	if err != nil {
		return nil, fmt.Errorf("write yum metadata: %w", err)
	}
	out := map[string][]byte{}
	md, w := &writer{}, &writer{b: make([]byte, 0, room(ordered))}
	md.begin()
	md.open("repomd", "xmlns", nsRepo, "xmlns:rpm", nsRPM)
	md.text("revision", strconv.FormatInt(o.Created.Unix(), 10))
	for _, part := range []struct {
		kind  string
		write func(*writer, []*PackageMeta, time.Time)
	}{{"primary", writePrimary}, {"filelists", writeFilelists}, {"other", writeOther}} {
		w.begin()
		part.write(w, ordered, o.Created)
		if err := addPart(md, out, part.kind, w.b, o); err != nil {
			return nil, fmt.Errorf("write yum metadata: %s: %w", part.kind, err)
		}
	}
	md.close("repomd")
	out[RepomdPath] = md.b
	return out, nil
}

// room estimates the bytes of the largest document: to grow step by step takes as long as to
// write.
func room(packages []*PackageMeta) int {
	const head, pkg, entry, file = 1000, 1300, 100, 40 // markup, and fields of about the same length
	primary, filelists, other := head, head, head
	for _, p := range packages {
		relations := len(p.provides) + len(p.requires) + len(p.conflicts) + len(p.obsoletes) +
			len(p.suggests) + len(p.enhances) + len(p.recommends) + len(p.supplement)
		primary += pkg + len(p.summary) + len(p.description) + relations*entry
		filelists += pkg / 4
		other += pkg / 4
		for _, f := range p.files {
			filelists += file + len(f.path)
		}
		for _, c := range p.changelog {
			other += entry + len(c.author) + len(c.text)
		}
	}
	return max(primary, filelists, other)
}

// inOrder returns the packages in the order of the metadata.
func inOrder(packages []PackageMeta) ([]*PackageMeta, error) {
	ordered, seen := make([]*PackageMeta, len(packages)), make(map[string]bool, len(packages))
	for i := range packages {
		p := &packages[i]
		if err := metadata.CheckPath(p.Location); err != nil {
			return nil, err
		}
		if !strict.IsDigest(p.Digest) {
			return nil, fmt.Errorf("%q: digest %q", p.Location, p.Digest)
		}
		if seen[p.Location] {
			return nil, fmt.Errorf("%q twice", p.Location)
		}
		ordered[i], seen[p.Location] = p, true
	}
	slices.SortFunc(ordered, func(a, b *PackageMeta) int {
		return cmp.Or(compareNEVRA(a.NEVRA, b.NEVRA), strings.Compare(a.Location, b.Location))
	})
	return ordered, nil
}

// addPart compresses one metadata file and describes it in repomd.xml.
func addPart(md *writer, out map[string][]byte, kind string, content []byte, o MetadataOptions) error {
	packed, err := compress(content, o.Compression)
	if err != nil {
		return err
	}
	sum := digest.FromBytes(packed).Encoded()
	href := "repodata/" + sum + "-" + kind + ".xml." + o.Compression
	out[href] = packed
	md.open("data", "type", kind)
	md.text("checksum", sum, "type", "sha256")
	md.text("open-checksum", digest.FromBytes(content).Encoded(), "type", "sha256")
	md.empty("location", "href", href)
	md.text("timestamp", strconv.FormatInt(o.Created.Unix(), 10))
	md.text("size", strconv.Itoa(len(packed)))
	md.text("open-size", strconv.Itoa(len(content)))
	md.close("data")
	return nil
}

// compress packs deterministically: fixed level, no names or times.
func compress(b []byte, kind string) ([]byte, error) {
	switch kind {
	case "gz":
		return metadata.Gzip(b)
	case "zst":
		// Memory for a window beyond the content costs more time than the compression.
		window := min(max(1<<bits.Len(uint(len(b))), zstd.MinWindowSize), maxWindow)
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
		return w.EncodeAll(b, nil), w.Close()
	}
	return nil, fmt.Errorf("compression %q, want gz or zst", kind)
}

// maxWindow is the window that every decoder must support (RFC 8878, 3.1.1.1.2).
const maxWindow = 8 << 20

const (
	nsRepo      = "http://linux.duke.edu/metadata/repo"
	nsRPM       = "http://linux.duke.edu/metadata/rpm"
	nsCommon    = "http://linux.duke.edu/metadata/common"
	nsFilelists = "http://linux.duke.edu/metadata/filelists"
	nsOther     = "http://linux.duke.edu/metadata/other"
)
