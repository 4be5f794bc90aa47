package stage

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every check has its name in the list and in the documentation, and the list has no
// other names.
func TestCheckNames(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"endpoint"} // a step that takes the setting
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if id, ok := lit.Type.(*ast.Ident); !ok || id.Name != "Check" {
				return true
			}
			for _, e := range lit.Elts {
				kv := e.(*ast.KeyValueExpr)
				if v, ok := kv.Value.(*ast.BasicLit); ok && kv.Key.(*ast.Ident).Name == "Name" {
					name, _ := strconv.Unquote(v.Value)
					names = append(names, name)
				}
			}
			return true
		})
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if !slices.Equal(names, CheckNames()) {
		t.Errorf("checks have the names\n%q\nthe list has\n%q", names, CheckNames())
	}
	for _, page := range []string{"docs/hosts.md", "docs/zh-CN/hosts.md"} {
		doc, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range CheckNames() {
			if !strings.Contains(string(doc), "| `"+name+"` |") {
				t.Errorf("%s has no row for %q", page, name)
			}
		}
	}
}

func TestIgnoredNames(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.HostPrep.IgnorePreflight = []string{"memory", "memroy"}
	var found []string
	for _, c := range preflight(in) {
		if c.Name == "ignore" && c.Verdict == Warn {
			found = append(found, c.Found)
		}
	}
	if !slices.Equal(found, []string{"memroy"}) {
		t.Errorf("warns of %q", found)
	}
}
