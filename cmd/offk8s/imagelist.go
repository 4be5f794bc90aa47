package main

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests/strict"
)

// imageField is the line of a Kubernetes object that names an image. Lists of images are
// lines of YAML too, so no object has to be understood.
var imageField = strict.NewPattern(`^\s*(?:-\s+)?["']?image["']?:\s*["']?([^\s"'#]+)["']?\s*(?:#.*)?$`)

// imagesFrom returns the images that a file of --images-from names, sorted, each once: one
// on each line, or those of Kubernetes objects. Lines that are empty or begin with # are
// left out.
func (a *app) imagesFrom(file string) ([]string, error) {
	var content []byte
	var err error
	if file == "-" {
		content, err = io.ReadAll(reader.Limit(a.stdin, maxInput))
	} else {
		content, err = readInput(file)
	}
	if err != nil {
		return nil, usagef("--images-from: %w", err)
	}
	objects := bytes.Contains(content, []byte("apiVersion:"))
	found := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxInput)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		field := imageField.FindStringSubmatch(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case field != nil:
			found[field[1]] = true
		case objects:
		case strings.ContainsAny(line, " \t"):
			return nil, usagef("--images-from %s:%d: found %q, want one image on each line, or Kubernetes objects in YAML", file, n, line)
		default:
			found[line] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, usagef("--images-from %s: %w", file, err)
	}
	if len(found) == 0 {
		return nil, withHint(usagef("--images-from %s: names no image", file), "%s", noImages)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

const noImages = "write one on each line, such as docker.io/library/nginx:1.29, or give Kubernetes objects in YAML"
