package step_test

import (
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestImageRef(t *testing.T) {
	d := steptest.New(t).Artifact("x")
	for name, want := range map[string]string{
		"registry.k8s.io/pause:3.10": "registry.k8s.io/pause@",
		"host:5000/a/b":              "host:5000/a/b@",
		"host:5000/a/b:c":            "host:5000/a/b@",
	} {
		if got := step.ImageRef(name, d); got != want+d.String() {
			t.Errorf("ImageRef(%q) = %q", name, got)
		}
	}
}

// Lines of ctr 1.6 and 2.2 as seen on hosts.
func TestComplete(t *testing.T) {
	d := steptest.New(t).Artifact("x")
	line := func(name, status, unpacked string) string {
		return "REF TYPE DIGEST STATUS SIZE UNPACKED\n" + name +
			" application/vnd.oci.image.manifest.v1+json " + d.String() + " " + status + " 2.1 MiB/2.1 MiB " + unpacked + "\n"
	}
	tests := []struct {
		out  string
		want bool
	}{
		{line("a/b:c", "complete (2/2)", "true"), true},
		{line("a/b:c", "complete (2/2)", "false"), false},
		{line("a/b:c", "incomplete (1/2)", "true"), false},
		{line("a/b:cc", "complete (2/2)", "true"), false},
		{strings.ReplaceAll(line("a/b:c", "complete (2/2)", "true"), d.String(), "sha256:00"), false},
		{"", false},
	}
	for _, tt := range tests {
		if got := step.Complete(tt.out, "a/b:c", d); got != tt.want {
			t.Errorf("%q: %t", tt.out, got)
		}
	}
}
