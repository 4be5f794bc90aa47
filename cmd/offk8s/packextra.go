package main

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/manifests"
)

// extraFlags are the flags that add charts and files to those of pack.yaml.
type extraFlags struct {
	charts []string
	files  []string
}

func (e *extraFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&e.charts, "chart", nil, "a Helm chart and its images: REPOSITORY/NAME:VERSION[#DIGEST] with https:// or oci://, or an archive (FILE.tgz)")
	f.StringArrayVar(&e.files, "add-file", nil, "a file, [NAME=]URL[#DIGEST]; without https:// it is a file of this machine")
}

// addTo adds the charts and files to m.
func (e *extraFlags) addTo(m *manifests.Manifest) error {
	var errs []error
	for _, s := range e.charts {
		c, err := parseChart(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.Charts = append(m.Charts, c)
	}
	for _, s := range e.files {
		f, err := parseFile(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.Files = append(m.Files, f)
	}
	return errors.Join(errs...)
}

// parseChart parses a value of --chart.
func parseChart(s string) (manifests.ManifestChart, error) {
	address, digest, _ := strings.Cut(s, "#")
	c := manifests.ManifestChart{Digest: digest}
	if !strings.Contains(address, "://") {
		c.File = address
		return c, nil
	}
	slash, colon := strings.LastIndex(address, "/"), strings.LastIndex(address, ":")
	if colon < slash || strings.HasSuffix(address[:slash], "/") {
		return c, withHint(fmt.Errorf("--chart %q: want REPOSITORY/NAME:VERSION, or the path of a .tgz file", s),
			"for example oci://ghcr.io/stefanprodan/charts/podinfo:6.9.2")
	}
	c.Repository, c.Name, c.Version = address[:slash], address[slash+1:colon], address[colon+1:]
	return c, nil
}

// parseFile parses a value of --add-file.
func parseFile(s string) (manifests.ExtraFile, error) {
	address, digest, _ := strings.Cut(s, "#")
	f := manifests.ExtraFile{Digest: digest}
	// A URL can have a = in its query.
	if before, after, ok := strings.Cut(address, "="); ok && !strings.Contains(before, "://") {
		f.Name, address = before, after
	}
	f.URL = address
	if !strings.Contains(address, "://") {
		absolute, err := filepath.Abs(address)
		if err != nil {
			return f, err
		}
		f.URL = "file://" + absolute
	}
	if f.Name == "" {
		u, err := url.Parse(f.URL)
		if err != nil {
			return f, fmt.Errorf("--add-file %q: %w", s, err)
		}
		f.Name = path.Base(u.Path)
	}
	return f, nil
}
