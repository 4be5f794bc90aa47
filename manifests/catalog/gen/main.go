// Command gen writes the releases of the catalog, kubernetes/<minor>.yaml, from
// the YAML files beside it: kubernetes.yaml, components.yaml and images.yaml hold
// digests with their sources, minors.yaml the versions, flags and features of each
// minor. Run it with `make catalog`.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("catalog", "manifests/catalog", "directory of the catalog")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes the releases of the catalog in dir, and removes those of minors that
// are not in the input any more.
func run(dir string) error {
	in, err := readInput(filepath.Join(dir, "gen"))
	if err != nil {
		return err
	}
	files, err := in.releases()
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "kubernetes")
	old, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range old {
		if _, ok := files[e.Name()]; !ok {
			if err := os.Remove(filepath.Join(out, e.Name())); err != nil {
				return err
			}
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
