package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// MaxIndex is the limit on the index of a chart repository in bytes. That of Bitnami, the
// largest one known, had 20 MB.
const MaxIndex = 64 << 20

// Release is a version of a chart in the index of a repository.
type Release struct {
	URL    string        // of the archive
	Digest digest.Digest // of the archive; empty if the index does not say
}

// Find returns a version of a chart from the index.yaml of the repository at address. If
// the index lacks it, the error is fs.ErrNotExist.
func Find(index []byte, address, name, version string) (Release, error) {
	versions, err := entries(index, name)
	if err != nil {
		return Release{}, fmt.Errorf("index.yaml: %w", err)
	}
	var have []string
	for _, v := range versions {
		if v.Version == version {
			return v.release(address)
		}
		have = append(have, v.Version)
	}
	if len(have) == 0 {
		return Release{}, fmt.Errorf("%w: no chart %q in the repository", fs.ErrNotExist, name)
	}
	rest := ""
	if len(have) > 5 {
		have, rest = have[:5], fmt.Sprintf(" and %d more", len(have)-5)
	}
	return Release{}, fmt.Errorf("%w: no version %q of it in the repository, which has %s%s", fs.ErrNotExist, version, strings.Join(have, ", "), rest)
}

// entry is a version of a chart in an index, with the fields that are needed.
type entry struct {
	Version string   `json:"version"`
	URLs    []string `json:"urls"`
	Digest  string   `json:"digest"`
}

func (e entry) release(address string) (Release, error) {
	if len(e.URLs) == 0 {
		return Release{}, fmt.Errorf("index.yaml: version %s has no address", e.Version)
	}
	base, err := url.Parse(strings.TrimSuffix(address, "/") + "/")
	if err != nil {
		return Release{}, err
	}
	at, err := base.Parse(e.URLs[0])
	if err != nil {
		return Release{}, fmt.Errorf("index.yaml: version %s: %w", e.Version, err)
	}
	r := Release{URL: at.String(), Digest: digest.Digest(e.Digest)}
	if e.Digest != "" && !strings.Contains(e.Digest, ":") {
		r.Digest = digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(e.Digest))
	}
	return r, strict.CheckDigest(r.Digest)
}

// entries returns the versions of a chart in an index.
func entries(index []byte, name string) ([]entry, error) {
	var all struct {
		Entries map[string][]entry `json:"entries"`
	}
	if bytes.HasPrefix(bytes.TrimSpace(index), []byte("{")) {
		err := json.Unmarshal(index, &all)
		return all.Entries[name], err
	}
	documents, err := strict.Documents(section(index, name))
	if err != nil {
		return nil, err
	}
	if len(documents) == 0 {
		return nil, errors.New("is empty")
	}
	text, err := json.Marshal(documents[0])
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all.Entries[name], err
}

var (
	entriesLine = strict.NewPattern(`(?m)^entries:[ \t]*\r?\n`)
	indented    = strict.NewPattern(`^ +`)
)

// section returns index with the entries of one chart alone, or all of index if it has
// another form than Helm writes. Reading the YAML of a large repository takes minutes.
func section(index []byte, name string) []byte {
	at := entriesLine.Regexp().FindIndex(index)
	if at == nil {
		return index
	}
	indent := indented.Regexp().Find(index[at[1]:])
	begin := regexp.MustCompile(`(?m)^` + string(indent) + `["']?` + regexp.QuoteMeta(name) + `["']?:[ \t]*\r?\n`).FindIndex(index[at[1]:])
	if len(indent) == 0 || begin == nil {
		return index
	}
	rest := index[at[1]+begin[0]:]
	length := begin[1] - begin[0]
	for length < len(rest) {
		line := rest[length:]
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line = line[:n+1]
		}
		after, ok := bytes.CutPrefix(line, indent)
		blank := len(bytes.TrimSpace(line)) == 0
		if !blank && (!ok || after[0] != ' ' && after[0] != '-') {
			break
		}
		length += len(line)
	}
	return append([]byte("entries:\n"), rest[:length]...)
}

// Index returns the index.yaml of a repository in which the archives of the charts lie
// beside it.
func Index(charts []manifests.Artifact, created time.Time) ([]byte, error) {
	type version struct {
		manifests.ChartMetadata
		Created string   `json:"created"`
		Digest  string   `json:"digest"`
		URLs    []string `json:"urls"`
	}
	at := created.UTC().Format(time.RFC3339)
	list := map[string][]version{}
	for _, a := range charts {
		list[a.Name] = append(list[a.Name], version{a.Chart.Metadata, at, a.Blob.Digest.Encoded(), []string{a.Path}})
	}
	for _, versions := range list {
		slices.Reverse(versions) // the newest first, mostly; Helm sorts them itself
	}
	return strict.EncodeYAML(struct {
		APIVersion string               `json:"apiVersion"`
		Entries    map[string][]version `json:"entries"`
		Generated  string               `json:"generated"`
	}{"v1", list, at})
}
