package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/reader"
)

// maxSources is the longest file of sources in bytes.
const maxSources = 4 << 20

// HostSource is one archive of a machine's apt configuration.
type HostSource struct {
	URL        string // http or https, without a trailing slash
	Suites     []string
	Components []string
	SignedBy   string // keyring file, fingerprint or inline armoured key; may be empty
}

// SourcesFromHost reads etc/apt/sources.list and etc/apt/sources.list.d (one
// line per source and deb822) below root ("/"), in apt's order. Disabled
// sources, sources of source packages, and other methods than http and https
// are left out; "mirror+file:" stands for the first URL of its list.
func SourcesFromHost(root string) ([]HostSource, error) {
	dir := filepath.Join(root, "etc", "apt")
	names := []string{filepath.Join(dir, "sources.list")}
	entries, err := os.ReadDir(filepath.Join(dir, "sources.list.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("apt sources: %w", err)
	}
	for _, e := range entries {
		names = append(names, filepath.Join(dir, "sources.list.d", e.Name()))
	}
	var out []HostSource
	for _, name := range names {
		var read func(string, []byte) ([]HostSource, error)
		switch filepath.Ext(name) {
		case ".list":
			read = readOneLine
		case ".sources":
			read = readDeb822
		default:
			continue
		}
		b, err := reader.ReadFile(name, maxSources)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("apt sources: %w", err)
		}
		sources, err := read(root, b)
		if err != nil {
			return nil, fmt.Errorf("apt sources: %q: %w", name, err)
		}
		out = append(out, sources...)
	}
	return out, nil
}

// readOneLine reads "deb [option=value …] URL suite component…" lines.
func readOneLine(root string, b []byte) ([]HostSource, error) {
	var out []HostSource
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "deb" {
			continue
		}
		words = words[1:]
		s := HostSource{}
		if len(words) > 0 && strings.HasPrefix(words[0], "[") {
			end := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "]") })
			if end < 0 {
				return nil, fmt.Errorf("line %q: no end of options", strings.TrimSpace(line))
			}
			for _, option := range words[:end+1] {
				name, value, _ := strings.Cut(strings.Trim(option, "[]"), "=")
				if strings.EqualFold(name, "signed-by") {
					s.SignedBy = value
				}
			}
			words = words[end+1:]
		}
		if len(words) < 2 {
			return nil, fmt.Errorf("line %q: want URL and suite", strings.TrimSpace(line))
		}
		s.Suites, s.Components = words[1:2], words[2:]
		if at, ok := archiveURL(root, words[0]); ok {
			s.URL = at
			out = append(out, s)
		}
	}
	return out, nil
}

// readDeb822 reads the stanzas of a .sources file (sources.list(5)).
func readDeb822(root string, b []byte) ([]HostSource, error) {
	var out []HostSource
	err := eachStanza(bytes.NewReader(b), func(s *stanza) error {
		switch strings.ToLower(s.get("Enabled")) {
		case "no", "false", "without", "off", "disable", "0":
			return nil
		}
		if !slices.Contains(strings.Fields(s.get("Types")), "deb") {
			return nil
		}
		for _, uri := range strings.Fields(s.get("URIs")) {
			at, ok := archiveURL(root, uri)
			if !ok {
				continue
			}
			out = append(out, HostSource{
				URL: at, Suites: strings.Fields(s.get("Suites")), Components: strings.Fields(s.get("Components")),
				SignedBy: inlineKey(s.get("Signed-By")),
			})
		}
		return nil
	})
	return out, err
}

// inlineKey returns an armoured key from a deb822 field, where each line has a
// space before it and an empty line is a dot.
func inlineKey(value string) string {
	if !strings.Contains(value, "\n") {
		return value
	}
	lines := strings.Split(value, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
		if lines[i] == "." {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// archiveURL returns a source's URL without a trailing slash, when it is http(s).
func archiveURL(root, uri string) (string, bool) {
	if list, ok := strings.CutPrefix(uri, "mirror+file:"); ok {
		b, err := reader.ReadFile(filepath.Join(root, list), maxSources)
		if err != nil {
			return "", false
		}
		words := strings.Fields(string(b))
		if len(words) == 0 {
			return "", false
		}
		uri = words[0]
	}
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	return strings.TrimRight(uri, "/"), true
}

// ArchiveURL returns the URL under which sources have the catalog's archive
// ("debian", "debian-security", "ubuntu"): that of a source with suite and
// components, or if there is none, of a source whose URL ends in the name of the
// archive, since such an archive has the other suites too. Archives of vendors
// often use the suite names of the distribution: of several sources, one with
// the name of the archive is preferred.
func ArchiveURL(sources []HostSource, archive, suite string, components []string) (string, bool) {
	best, bestRank := "", 0
	for _, s := range sources {
		named := strings.HasSuffix(s.URL, "/"+archive)
		serves := slices.Contains(s.Suites, suite)
		missing := slices.ContainsFunc(components, func(c string) bool { return !slices.Contains(s.Components, c) })
		rank := 0
		switch {
		case missing:
		case serves && named:
			rank = 3
		case serves:
			rank = 2
		case named:
			rank = 1
		}
		if rank > bestRank {
			best, bestRank = s.URL, rank
		}
	}
	return best, bestRank > 0
}
