package step_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// TestParentsThatAreLinks: nothing is written, read into the journal or removed below a
// link, wherever in the path it is, before the first run and before reset.
func TestParentsThatAreLinks(t *testing.T) {
	for _, tt := range []struct {
		name string
		step func(*steptest.World) step.Step
	}{
		{"file", func(*steptest.World) step.Step { return &step.File{Path: "/etc/a/b/c", Content: "x"} }},
		{"artifact", func(w *steptest.World) step.Step {
			return &step.Artifact{Digest: w.Artifact("tool"), Path: "/etc/a/b/c"}
		}},
		{"directory", func(*steptest.World) step.Step { return &step.Directory{Path: "/etc/a/b/c", Purge: true} }},
		{"symlink", func(*steptest.World) step.Step { return &step.Symlink{Path: "/etc/a/b/c", To: "/x"} }},
		{"block", func(*steptest.World) step.Step { return &step.Block{Path: "/etc/a/b/c", Lines: []string{"x"}} }},
		{"absent", func(*steptest.World) step.Step { return &step.Absent{Path: "/etc/a/b/c"} }},
	} {
		for _, link := range []string{"etc/a/b", "etc/a", "etc"} {
			t.Run(tt.name+" "+link, func(t *testing.T) {
				w := steptest.New(t)
				if tt.name != "absent" {
					w.Write(t, "etc/other", "", 0o644)
				} else {
					w.Write(t, "etc/a/b/c", "x", 0o644)
				}
				s := tt.step(w)
				res, err := s.Apply(t.Context(), w.Env())
				if err != nil {
					t.Fatal(err)
				}
				// Somebody moves the directory away and leaves a link to it.
				elsewhere := steptest.New(t)
				elsewhere.Write(t, "b/c", "precious", 0o644)
				elsewhere.Write(t, "a/b/c/d", "precious", 0o644)
				elsewhere.Write(t, "c/d", "precious", 0o644)
				if err := os.RemoveAll(filepath.Join(w.Root, link)); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(elsewhere.Root, filepath.Join(w.Root, link)); err != nil {
					t.Fatal(err)
				}
				before := elsewhere.Tree(t)
				_, checked := s.Check(t.Context(), w.Env())
				_, applied := s.Apply(t.Context(), w.Env())
				prior := res.Prior
				if len(prior) == 0 {
					prior = json.RawMessage("{}")
				}
				undone := s.Undo(t.Context(), w.Env(), prior)
				if tt.name == "absent" {
					undone = step.ErrSymlink // it has no undo
				}
				for name, err := range map[string]error{"check": checked, "apply": applied, "undo": undone} {
					if !errors.Is(err, step.ErrSymlink) {
						t.Errorf("%s: error %v, want %v", name, err, step.ErrSymlink)
					}
				}
				if diff := cmp.Diff(before, elsewhere.Tree(t)); diff != "" {
					t.Errorf("changed below the link (-before +after):\n%s", diff)
				}
			})
		}
	}
}
