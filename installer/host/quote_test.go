package host

import (
	"os/exec"
	"strings"
	"testing"
)

func TestT41Quote(t *testing.T) {
	for _, argv := range [][]string{
		{"a"}, {"/bin/x", ""}, {"$(touch x)", "`id`", "a b", "it's", "\"", "\\", "a\nb", "~", "*", "-n", "x=y", "é", "\x01", "'", "''"},
	} {
		checkQuote(t, argv)
	}
	if _, err := quote(nil); err == nil {
		t.Error("accepts no program")
	}
	if _, err := quote([]string{"a\x00b"}); err == nil {
		t.Error("accepts a NUL")
	}
}

// checkQuote has a real sh read the line back.
func checkQuote(t *testing.T, argv []string) {
	t.Helper()
	line, err := quote(append([]string{"set", "--"}, argv...))
	if err != nil {
		t.Fatal(err)
	}
	script := line + `; for a; do printf '%s\0' "$a"; done`
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("sh -c %q: %v: %s", script, err, out)
	}
	if want := strings.Join(argv, "\x00") + "\x00"; string(out) != want {
		t.Errorf("sh read %q, want %q (line %q)", out, want, line)
	}
}

func FuzzShellQuote(f *testing.F) {
	f.Add("a", "b c")
	f.Add("$(id)", "'\n\\'")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) {
			t.Skip()
		}
		checkQuote(t, []string{a, b})
	})
}
