package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/offk8s/offk8s/bundle"
)

// checkOutput returns an error unless a file with the name of --output can be written.
func checkOutput(output string) error {
	if st, err := os.Stat(output); err == nil && st.IsDir() {
		return fmt.Errorf("--output %q: is a directory, want the name of a file", output)
	}
	if st, err := os.Stat(filepath.Dir(output)); err != nil || !st.IsDir() {
		return fmt.Errorf("--output %q: there is no directory %q", output, filepath.Dir(output))
	}
	return nil
}

// replaces reports whether a bundle that is written to output takes the place of the one
// that name leads to. The directories may have several names. A link at output is replaced
// itself; one at name leads to its file.
func replaces(output, name string) bool {
	path, _, err := bundle.Locate(name)
	if err != nil {
		return false
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		target = path // a bundle in parts
	}
	return slices.ContainsFunc([]string{path, target}, func(p string) bool {
		a, aerr := os.Stat(filepath.Dir(p))
		b, berr := os.Stat(filepath.Dir(output))
		return aerr == nil && berr == nil && os.SameFile(a, b) && filepath.Base(p) == filepath.Base(output)
	})
}

// checkedOutput is standard output. It keeps the first error, also of writers that ignore
// it, such as the help of cobra.
type checkedOutput struct {
	file *os.File
	mu   sync.Mutex
	err  error
}

func (o *checkedOutput) Write(b []byte) (int, error) {
	n, err := o.file.Write(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// failed returns the first error of a Write.
func (o *checkedOutput) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
