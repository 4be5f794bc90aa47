// Package chart reads Helm charts: their metadata, the images that they name, and the index
// of a chart repository. It also writes what a mirror serves for a chart: the index, and the
// manifest in a registry.
//
// It renders no templates, which needs Helm and the values of the user, so it does not see
// an image whose name only a template computes (see Images).
package chart

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Limits of a chart, with the charts in it. Helm has the same ones for size (100 MiB, and
// 5 MiB for a file).
const (
	maxSize  = 100 << 20
	maxFile  = 5 << 20
	maxFiles = 20_000
	maxDepth = 10 // of charts in charts
)

// ErrFormat means that an archive is no Helm chart.
var ErrFormat = errors.New("is no Helm chart")

// Archive is a chart that was read.
type Archive struct {
	Metadata manifests.ChartMetadata

	values    map[string]any
	templates [][]byte
	charts    []*Archive // in it, sorted by directory
}

// Read reads the archive of a chart (.tgz).
func Read(r io.Reader) (*Archive, error) {
	b := &budget{size: maxSize, files: maxFiles}
	return b.read(r, 1)
}

// budget is what a chart and the archives in it may still need together.
type budget struct {
	size  int64
	files int
}

func (b *budget) read(r io.Reader, depth int) (*Archive, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: charts nested deeper than %d", ErrFormat, maxDepth)
	}
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	plain := reader.Limit(zr, b.size)
	files := map[string][]byte{}
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if err := b.take(files, h, tr); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrFormat, h.Name, err)
		}
	}
	// What follows the end of the tar still has to be sound gzip.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return b.parse(files, depth)
}

// take reads a member into files, by its path below the directory of the chart.
func (b *budget) take(files map[string][]byte, h *tar.Header, r io.Reader) error {
	b.size -= h.Size
	b.files--
	_, name, below := strings.Cut(path.Clean(h.Name), "/")
	switch {
	case h.Size > maxFile, b.size < 0, b.files < 0:
		return errors.New("is too large")
	case h.Typeflag != tar.TypeReg || !below:
		return nil
	case files[name] != nil:
		return errors.New("appears more than once")
	}
	content, err := io.ReadAll(r)
	files[name] = append([]byte{}, content...)
	return err
}

// parse makes a chart of its files by path.
func (b *budget) parse(files map[string][]byte, depth int) (*Archive, error) {
	a := &Archive{}
	if err := a.readMetadata(files["Chart.yaml"]); err != nil {
		return nil, err
	}
	documents, err := strict.Documents(files["values.yaml"])
	if err != nil {
		return nil, fmt.Errorf("values.yaml of chart %s: %w", a.Metadata.Name, err)
	}
	if len(documents) > 0 {
		a.values = documents[0]
	}
	below := map[string]map[string][]byte{} // files of charts in directories
	for _, name := range slices.Sorted(maps.Keys(files)) {
		rest, isChart := strings.CutPrefix(name, "charts/")
		dir, file, deep := strings.Cut(rest, "/")
		switch {
		case strings.HasPrefix(name, "templates/"):
			a.templates = append(a.templates, files[name])
		case !isChart || strings.HasPrefix(dir, "_") || strings.HasPrefix(dir, "."):
		case deep:
			if below[dir] == nil {
				below[dir] = map[string][]byte{}
			}
			below[dir][file] = files[name]
		case path.Ext(dir) == ".tgz":
			child, err := b.read(strings.NewReader(string(files[name])), depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			a.charts = append(a.charts, child)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(below)) {
		child, err := b.parse(below[dir], depth+1)
		if err != nil {
			return nil, fmt.Errorf("charts/%s: %w", dir, err)
		}
		a.charts = append(a.charts, child)
	}
	return a, nil
}

// readMetadata decodes Chart.yaml.
func (a *Archive) readMetadata(data []byte) error {
	documents, err := strict.Documents(data)
	if err != nil {
		return fmt.Errorf("%w: Chart.yaml: %w", ErrFormat, err)
	}
	if len(documents) != 1 {
		return fmt.Errorf("%w: Chart.yaml is missing or empty", ErrFormat)
	}
	// Helm takes numbers for text here: a version 1.10 is not 1.1.
	for _, field := range []string{"version", "appVersion"} {
		if text := numberOf(data, field); text != "" {
			documents[0][field] = text
		}
	}
	text, err := json.Marshal(documents[0])
	if err == nil {
		err = json.Unmarshal(text, &a.Metadata)
	}
	if err != nil {
		return fmt.Errorf("%w: Chart.yaml: %w", ErrFormat, err)
	}
	if a.Metadata.Name == "" {
		return fmt.Errorf("%w: Chart.yaml has no name", ErrFormat)
	}
	return nil
}

var numberField = strict.NewPattern(`(?m)^(version|appVersion):[ \t]+([0-9][0-9.eE+_]*)[ \t]*(?:#.*)?\r?$`)

// numberOf returns the number of a field of Chart.yaml as it is written, "" if the field
// is no number.
func numberOf(data []byte, field string) string {
	for _, m := range numberField.Regexp().FindAllSubmatch(data, -1) {
		if string(m[1]) == field {
			return string(m[2])
		}
	}
	return ""
}
