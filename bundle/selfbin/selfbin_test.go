package selfbin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle/selfbin"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	amd64 := write("amd64", upstreamtest.SelfBinary("amd64"))
	dynamic := upstreamtest.SelfBinary("amd64")
	dynamic[64] = 3 // PT_INTERP in place of PT_LOAD
	object := upstreamtest.SelfBinary("amd64")
	object[16] = 1 // ET_REL
	tests := []struct {
		path, arch, want string
	}{
		{amd64, "amd64", ""},
		{write("arm64", upstreamtest.SelfBinary("arm64")), "arm64", ""},
		{amd64, "arm64", "want EM_AARCH64"},
		{amd64, "s390x", "not known"},
		{write("script", []byte("#!/bin/sh\n")), "amd64", "not an ELF"},
		{write("dynamic", dynamic), "amd64", "want a static program"},
		{write("object", object), "amd64", "want an executable"},
		{filepath.Join(dir, "none"), "amd64", "no such file"},
	}
	for _, tt := range tests {
		err := selfbin.Check(tt.path, tt.arch)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Check(%q, %q) = %v, want %q", filepath.Base(tt.path), tt.arch, err, tt.want)
		}
	}
	if err := selfbin.CheckMachine(tests[5].path, "amd64"); err != nil {
		t.Errorf("CheckMachine of a dynamic program: %v", err)
	}
	if err := selfbin.CheckMachine(amd64, "arm64"); err == nil || !strings.Contains(err.Error(), "want EM_AARCH64") {
		t.Errorf("CheckMachine for another machine: %v", err)
	}
}
