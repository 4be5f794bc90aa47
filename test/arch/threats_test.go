package arch

import (
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testName  = regexp.MustCompile(`^(?:Test|Fuzz)\w+$`)
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	numbered  = regexp.MustCompile(`^TestT(\d\d)`)
)

// Tests and numbers of threats that docs/threats.md names must exist, and a test
// with the number of a threat must have a row there.
func TestThreatsNameTestsThatExist(t *testing.T) {
	b, err := os.ReadFile(root + "/docs/threats.md")
	if err != nil {
		t.Fatal(err)
	}
	exist := tests(t)
	var rows []string
	for line := range strings.Lines(string(b)) {
		number, ok := strings.CutPrefix(line, "| T-")
		if !ok {
			continue
		}
		number = number[:2]
		rows = append(rows, number)
		named := namedTest.FindAllStringSubmatch(line, -1)
		if len(named) == 0 && !strings.Contains(line, ".txtar`") && !strings.Contains(line, "**untested**") {
			t.Errorf("T-%s has no test and is not marked as untested", number)
		}
		for _, m := range named {
			if !exist[m[1]] {
				t.Errorf("T-%s: there is no test %s", number, m[1])
			}
			if n := numbered.FindStringSubmatch(m[1]); n != nil && n[1] != number {
				t.Errorf("T-%s: %s proves another threat", number, m[1])
			}
		}
	}
	if !slices.IsSorted(rows) || len(rows) != 53 {
		t.Errorf("%d rows, want 53 in order: %v", len(rows), rows)
	}
	for name := range exist {
		if n := numbered.FindStringSubmatch(name); n != nil && !slices.Contains(rows, n[1]) {
			t.Errorf("%s: docs/threats.md has no T-%s", name, n[1])
		}
	}
}

// tests returns the names of all tests and fuzz targets.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, dir := range packages(t) {
		for _, f := range parse(t, dir) {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && testName.MatchString(fn.Name.Name) {
					names[fn.Name.Name] = true
				}
			}
		}
	}
	return names
}
