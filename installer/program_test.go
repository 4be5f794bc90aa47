package installer

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The first command on a host finds what is there in one go.
func TestFirstLook(t *testing.T) {
	dir := t.TempDir()
	there, link := filepath.Join(dir, "there"), filepath.Join(dir, "link")
	if err := os.Mkdir(there, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(there, "program")
	if err := os.WriteFile(program, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "nothing"), link); err != nil {
		t.Fatal(err)
	}
	const sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	for _, tt := range []struct{ name, dir, program, want string }{
		{"nothing", filepath.Join(dir, "nothing"), filepath.Join(dir, "nothing", "program"), "none\n$"},
		{"no program", there, filepath.Join(there, "other"), `\d+ 41ed\n$`},
		{"program", there, program, `\d+ 41ed\n` + sum + ` .*\n$`},
		{"link to nothing", link, filepath.Join(link, "program"), `\d+ a1ff\n$`},
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", firstLook, "sh", tt.dir, tt.program).Output()
		if err != nil || !regexp.MustCompile(`^\w+\n`+tt.want).Match(out) {
			t.Errorf("%s: %q, %v; want the machine and %s", tt.name, out, err, tt.want)
		}
	}

	run := func(script string, args ...string) string {
		out, err := exec.CommandContext(t.Context(), "sh", append([]string{"-c", script, "sh"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return lines[len(lines)-1]
	}
	run(remember, program)
	if got := run(firstLook, there, program); got != sum+" known" {
		t.Errorf("a program that is known: %q", got)
	}
	// Same size and same time of the content.
	was, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("y"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(program, was.ModTime(), was.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := run(firstLook, there, program); strings.Contains(got, sum) || strings.Contains(got, "known") {
		t.Errorf("another program is taken for the known one: %q", got)
	}
}
