package step_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestFileKinds(t *testing.T) {
	world := func(files ...string) *steptest.World {
		w := steptest.New(t)
		w.Secrets["pki:x.key"] = "KEY"
		for i := 0; i < len(files); i += 2 {
			w.Write(t, files[i], files[i+1], 0o640)
		}
		return w
	}
	art := world("usr/local/bin/tool", strings.Repeat("foreign", 50_000)) // bigger than the journal takes
	hosts := world("etc/hosts", "127.0.0.1 localhost\n# BEGIN offk8s\nold\n# END offk8s\n::1 localhost")
	link := world("opt/x", "")
	if err := os.Symlink("/opt/x", filepath.Join(link.Root, "opt/l")); err != nil {
		t.Fatal(err)
	}
	cases := []steptest.Case{
		{Name: "new file", Step: &step.File{Path: "/etc/a/b/c", Content: "x"}, World: world()},
		{Name: "changed file", Step: &step.File{Path: "/etc/c", Content: "x", Mode: 0o600}, World: world("etc/c", "y")},
		{Name: "mode only", Step: &step.File{Path: "/etc/c", Content: "y", Mode: 0o600}, World: world("etc/c", "y")},
		{Name: "secret", Step: &step.File{Path: "/etc/x.key", Secret: "pki:x.key"}, World: world()},
		{
			Name: "big foreign file", World: art,
			Step:   &step.Artifact{Digest: art.Artifact("tool"), Path: "/usr/local/bin/tool"},
			Leaves: true, // the folder of backups
		},
		{Name: "new link", Step: &step.Symlink{Path: "/opt/d/l", To: "/opt/y"}, World: world()},
		{Name: "turned link", Step: &step.Symlink{Path: "/opt/l", To: "/opt/y"}, World: link},
		{Name: "absent", Step: &step.Absent{Path: "/etc/c"}, World: world("etc/c", "y"), Leaves: true},
		{Name: "directory", Step: &step.Directory{Path: "/var/lib/x/y", Mode: 0o700}, World: world()},
		{Name: "directory mode", Step: &step.Directory{Path: "/etc", Mode: 0o700}, World: world("etc/c", "y")},
		{Name: "new block", Step: &step.Block{Path: "/etc/hosts", Lines: []string{"10.0.0.1 a"}}, World: world("etc/hosts", "x\n")},
		{Name: "block in a new file", Step: &step.Block{Path: "/etc/hosts", Lines: []string{"10.0.0.1 a"}}, World: world("etc/c", "")},
		{Name: "changed block", Step: &step.Block{Path: "/etc/hosts", Lines: []string{"10.0.0.1 a"}}, World: hosts, Leaves: true},
	}
	for _, c := range cases {
		steptest.Suite(t, c)
	}
	if got := art.Read(t, "usr/local/bin/tool"); got != strings.Repeat("foreign", 50_000) {
		t.Errorf("big foreign file is not back: %d bytes", len(got))
	}
	if got, want := hosts.Read(t, "etc/hosts"), "127.0.0.1 localhost\n::1 localhost"; got != want {
		t.Errorf("hosts after undo: %q, want %q", got, want)
	}
}

func TestT47ModesWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077} {
		old := syscall.Umask(umask)
		w := steptest.New(t)
		w.Secrets["s"] = "KEY"
		for _, s := range []step.Step{
			&step.File{Path: "/a/b/plain", Content: "x"},
			&step.File{Path: "/a/b/secret", Secret: "s"},
			&step.Directory{Path: "/a/dir", Mode: 0o750},
		} {
			if _, err := s.Apply(t.Context(), w.Env()); err != nil {
				t.Fatal(err)
			}
		}
		syscall.Umask(old)
		for path, want := range map[string]os.FileMode{"a": 0o755, "a/b": 0o755, "a/b/plain": 0o644, "a/b/secret": 0o600, "a/dir": 0o750} {
			st, err := os.Stat(filepath.Join(w.Root, path))
			if err != nil {
				t.Fatal(err)
			}
			if st.Mode().Perm() != want {
				t.Errorf("umask %04o: %s has mode %s, want %s", umask, path, st.Mode().Perm(), want)
			}
		}
	}
}

func TestT47SymlinkRefused(t *testing.T) {
	w := steptest.New(t)
	w.Write(t, "etc/victim", "keep", 0o644)
	if err := os.Symlink("victim", filepath.Join(w.Root, "etc/conf")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []step.Step{
		&step.File{Path: "/etc/conf", Content: "x"},
		&step.Artifact{Path: "/etc/conf", Digest: w.Artifact("x")},
		&step.Block{Path: "/etc/conf", Lines: []string{"x"}},
		&step.Directory{Path: "/etc/conf"},
	} {
		if _, err := s.Check(t.Context(), w.Env()); !errors.Is(err, step.ErrSymlink) {
			t.Errorf("%s check: error %v, want ErrSymlink", s.Kind(), err)
		}
		if _, err := s.Apply(t.Context(), w.Env()); !errors.Is(err, step.ErrSymlink) {
			t.Errorf("%s apply: error %v, want ErrSymlink", s.Kind(), err)
		}
		if err := s.Undo(t.Context(), w.Env(), json.RawMessage(`{}`)); !errors.Is(err, step.ErrSymlink) {
			t.Errorf("%s undo: error %v, want ErrSymlink", s.Kind(), err)
		}
	}
	if got := w.Read(t, "etc/victim"); got != "keep" {
		t.Errorf("what the link points to was changed: %q", got)
	}
}

func TestT42ForgedArtifactIsNotPlaced(t *testing.T) {
	w := steptest.New(t)
	d := w.Artifact("good")
	w.Forge(d, "evil")
	_, err := (&step.Artifact{Digest: d, Path: "/usr/bin/x"}).Apply(t.Context(), w.Env())
	if err == nil || !strings.Contains(err.Error(), "want "+d.String()) {
		t.Errorf("error %v, want one that names the digest", err)
	}
	if files, _ := filepath.Glob(filepath.Join(w.Root, "usr/bin/*")); len(files) != 0 {
		t.Errorf("left behind: %q", files)
	}
}

func TestBlockWithoutEnd(t *testing.T) {
	w := steptest.New(t)
	w.Write(t, "etc/hosts", "# BEGIN offk8s\nx\n", 0o644)
	_, err := (&step.Block{Path: "/etc/hosts", Lines: []string{"y"}}).Check(t.Context(), w.Env())
	if err == nil {
		t.Error("no error: where the block ends is a guess")
	}
}
