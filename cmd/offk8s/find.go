package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
)

// findBundle returns the bundle to use: the named one, $OFFK8S_BUNDLE, or the
// only one that lies in the current folder. More than one candidate is an
// error that lists them.
func findBundle(args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	if name := os.Getenv("OFFK8S_BUNDLE"); name != "" {
		return []string{name}, nil
	}
	names, err := filepath.Glob("*.tar")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range names {
		if looksLikeBundle(name) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found, nil
	case 0:
		return nil, withHint(usagef("no bundle given and none in this folder"), "name it, or set OFFK8S_BUNDLE")
	default:
		return nil, withHint(usagef("several bundles in this folder: %s", strings.Join(found, ", ")), "name one of them")
	}
}

// looksLikeBundle reports whether a tar begins as bundles do; Open decides.
func looksLikeBundle(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	h, err := tar.NewReader(f).Next()
	return err == nil && h.Name == "oci-layout"
}
