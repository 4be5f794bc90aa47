package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle"
)

// checkProgramSBOM compares the bill of materials of a program with what it was built from.
func checkProgramSBOM(t *testing.T, program string) {
	t.Helper()
	f, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := bundle.ProgramSBOM("offk8s-linux-amd64", f)
	if err != nil {
		t.Fatal(err)
	}
	again, err := bundle.ProgramSBOM("offk8s-linux-amd64", f)
	if diff := cmp.Diff(got, again); err != nil || diff != "" {
		t.Errorf("twice: %v\n%s", err, diff)
	}
	c := got.Metadata.Component
	if c.Name != "offk8s-linux-amd64" || !strings.HasPrefix(c.PURL, "pkg:golang/github.com/offk8s/offk8s") || len(c.Hashes) != 1 {
		t.Errorf("program: %+v", c)
	}
	i := slices.IndexFunc(got.Components, func(c bundle.CDXComponent) bool { return c.Name == "github.com/spf13/cobra" })
	if i < 0 {
		t.Fatalf("no cobra in %+v", got.Components)
	}
	sums, err := os.ReadFile(filepath.Join(repository, "go.sum"))
	lib := got.Components[i]
	if err != nil || lib.PURL != "pkg:golang/github.com/spf13/cobra@"+lib.Version || len(lib.Properties) != 1 || !bytes.Contains(sums, []byte(lib.Properties[0].Value+"\n")) {
		t.Errorf("module: %+v: %v", lib, err)
	}
	if last := got.Components[len(got.Components)-1]; last.Name != "std" || !strings.HasPrefix(last.Version, "1.") {
		t.Errorf("standard library: %+v", last)
	}
	if d := got.Dependencies; len(d) != 1 || len(d[0].DependsOn) != len(got.Components) {
		t.Errorf("dependencies: %+v", d)
	}
	if _, err := bundle.ProgramSBOM("x", strings.NewReader("#!/bin/sh\n")); err == nil {
		t.Error("a script has modules")
	}
}
