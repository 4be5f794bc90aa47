package step_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// All images of a request have the same call, and one that is damaged does not hide the
// others.
func TestImagesAreOneCall(t *testing.T) {
	w := steptest.New(t)
	a := &step.Image{Name: "r/a:1", Digest: w.Artifact("a")}
	b := &step.Image{Name: "r/b:1", Digest: w.Artifact("b")}
	damaged := false
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if damaged && slices.Contains(c.Argv, "name==r/b:1") {
			return steptest.Exit(c.Argv, 1, "unable to check r/b:1")
		}
		out := ""
		for _, i := range []*step.Image{a, b} {
			for _, n := range []string{step.ImageRef(i.Name, i.Digest), i.Name} {
				if slices.Contains(c.Argv, "name=="+n) || slices.Contains(c.Argv, "name=="+n+`,labels."io.cri-containerd.pinned"==pinned`) {
					out += n + " type " + i.Digest.String() + " complete (2/2) 1 MiB true\n"
				}
			}
		}
		return steptest.Say(out)
	}
	look := func() (out []step.State) {
		for _, i := range []*step.Image{a, b} {
			env := w.Env()
			env.Kept = []step.Step{a, &step.Swap{}, b}
			res, err := i.Check(t.Context(), env)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, res.State)
		}
		return out
	}
	if diff := cmp.Diff([]step.State{step.OK, step.OK}, look()); diff != "" {
		t.Error(diff)
	}
	if len(w.Calls) != 2 || !slices.Equal(w.Calls[0], w.Calls[1]) {
		t.Errorf("calls differ: %q", w.Calls)
	}
	damaged = true
	if diff := cmp.Diff([]step.State{step.OK, step.Differs}, look()); diff != "" {
		t.Error(diff)
	}
}
