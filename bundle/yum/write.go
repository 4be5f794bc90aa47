package yum

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
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
	packages = slices.Clone(packages)
	slices.SortFunc(packages, func(a, b PackageMeta) int {
		return cmp.Or(compareNEVRA(a.NEVRA, b.NEVRA), strings.Compare(a.Location, b.Location))
	})
	seen := map[string]bool{}
	for _, p := range packages {
		if _, err := metadata.Resolve("", p.Location); err != nil {
			return nil, fmt.Errorf("write yum metadata: %w", err)
		}
		if err := p.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("write yum metadata: %q: %w", p.Location, err)
		}
		if seen[p.Location] {
			return nil, fmt.Errorf("write yum metadata: %q twice", p.Location)
		}
		seen[p.Location] = true
	}
	out := map[string][]byte{}
	md := newWriter(0)
	md.open("repomd", "xmlns", nsRepo, "xmlns:rpm", nsRPM)
	md.text("revision", strconv.FormatInt(o.Created.Unix(), 10))
	for _, part := range []struct {
		kind  string
		write func([]PackageMeta, time.Time) []byte
	}{{"primary", writePrimary}, {"filelists", writeFilelists}, {"other", writeOther}} {
		if err := addPart(md, out, part.kind, part.write(packages, o.Created), o); err != nil {
			return nil, fmt.Errorf("write yum metadata: %s: %w", part.kind, err)
		}
	}
	md.close("repomd")
	out[RepomdPath] = md.Bytes()
	return out, nil
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

// writer writes the few shapes of XML that metadata has; encoding/xml cannot
// write the "rpm:" prefix.
type writer struct {
	bytes.Buffer
	depth int
}

// newWriter returns a writer with room for packages packages: to grow step by step takes as
// long as to write.
func newWriter(packages int) *writer {
	w := &writer{}
	w.Grow(packages<<10 + 4<<10)
	w.WriteString(xml.Header)
	return w
}

func (w *writer) start(name string, attributes []string) {
	w.indent()
	w.WriteString("<")
	w.WriteString(name)
	for i := 0; i+1 < len(attributes); i += 2 {
		w.WriteString(" ")
		w.WriteString(attributes[i])
		w.WriteString(`="`)
		w.WriteString(escapeAttribute(attributes[i+1]))
		w.WriteString(`"`)
	}
}

func (w *writer) indent() {
	for range w.depth {
		w.WriteString("  ")
	}
}

func (w *writer) end(name string) {
	w.WriteString("</")
	w.WriteString(name)
	w.WriteString(">\n")
}

func (w *writer) open(name string, attributes ...string) {
	w.start(name, attributes)
	w.WriteString(">\n")
	w.depth++
}

func (w *writer) close(name string) {
	w.depth--
	w.indent()
	w.end(name)
}

func (w *writer) empty(name string, attributes ...string) {
	w.start(name, attributes)
	w.WriteString("/>\n")
}

func (w *writer) text(name, value string, attributes ...string) {
	w.start(name, attributes)
	if value == "" {
		w.WriteString("/>\n")
		return
	}
	w.WriteString(">")
	w.WriteString(escape(value))
	w.end(name)
}

// encoding/xml escapes more than createrepo_c does.
var (
	attributeEscapes = strings.NewReplacer("&#34;", "&quot;", "&#39;", "'")
	textEscapes      = strings.NewReplacer("&#xA;", "\n", "&#x9;", "\t", "&quot;", `"`)
)

// escapeAttribute makes text safe inside double quotes.
func escapeAttribute(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil { // a Builder never fails
		return ""
	}
	return attributeEscapes.Replace(b.String())
}

// escape makes text safe between tags; line ends, tabs and quotes stay as they are.
func escape(s string) string {
	if plain(s) {
		return s
	}
	return textEscapes.Replace(escapeAttribute(s))
}

// plain reports whether s has only printable ASCII that needs no escape, as most text.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '&' || c == '<' || c == '>' || c == '"' || c == '\'' {
			return false
		}
	}
	return true
}
