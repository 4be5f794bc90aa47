package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// words are counted per 10,000 words of comments. Comments of well-known Go
// projects have 70 to 150 "if" and fewer than 10 "what".
var words = []string{"if", "when", "what", "who", "says", "told", "own", "none", "folder", "directory", "returns", "uses", "used", "sets"}

var word = regexp.MustCompile(`[A-Za-z]+`)

// tree is everything that is measured, over one module.
type tree struct {
	lines     map[string]int             // per top-level directory
	files     []int                      // lines per file
	functions []int                      // lines per function
	exports   map[string]map[string]bool // exported names per package directory, methods left out
	total     int                        // words of comments
	count     map[string]int             // per word in lower case
}

// The comments of this tree are written as those of the Go standard library are:
// conditions with if and when, and "directory". `make measure`
// prints the whole table, to be compared before and after a change; SHAPE names
// another checkout.
func TestShape(t *testing.T) {
	tr := tree{lines: map[string]int{}, exports: map[string]map[string]bool{}, count: map[string]int{}}
	if err := tr.walk(cmp.Or(os.Getenv("SHAPE"), "../..")); err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		tr.print(t.Output())
	}
	if n := tr.rate("if"); n < 60 {
		t.Errorf("comments have %.0f \"if\" per 10,000 words, want 60 or more: write conditions with if", n)
	}
	if n := tr.rate("what"); n > 15 {
		t.Errorf("comments have %.0f \"what\" per 10,000 words, want 15 or fewer", n)
	}
	if n := tr.count["folder"]; n > 0 {
		t.Errorf("comments have \"folder\" %d times, want \"directory\"", n)
	}
}

// rate returns how often w stands in 10,000 words of comments.
func (t *tree) rate(w string) float64 { return float64(t.count[w]) * 1e4 / float64(max(t.total, 1)) }

func (t *tree) walk(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || path != root && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return t.file(path, filepath.ToSlash(rel))
	})
}

func (t *tree) file(path, rel string) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	n := fset.Position(f.FileEnd).Line
	t.files = append(t.files, n)
	top, _, _ := strings.Cut(rel, "/")
	t.lines[top] += n
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			t.functions = append(t.functions, fset.Position(fn.End()).Line-fset.Position(fn.Pos()).Line+1)
		}
		t.export(filepath.ToSlash(filepath.Dir(rel)), d)
	}
	for _, g := range f.Comments {
		for _, w := range word.FindAllString(g.Text(), -1) {
			t.total++
			t.count[strings.ToLower(w)]++
		}
	}
	return nil
}

func (t *tree) export(pkg string, d ast.Decl) {
	if t.exports[pkg] == nil {
		t.exports[pkg] = map[string]bool{}
	}
	add := func(id *ast.Ident) {
		if id.IsExported() {
			t.exports[pkg][id.Name] = true
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			add(d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				add(s.Name)
			case *ast.ValueSpec:
				for _, id := range s.Names {
					add(id)
				}
			}
		}
	}
}

func (t *tree) print(out io.Writer) {
	sum := 0
	for _, top := range slices.Sorted(maps.Keys(t.lines)) {
		fmt.Fprintf(out, "lines of %s\t%d\n", top, t.lines[top])
		sum += t.lines[top]
	}
	fmt.Fprintf(out, "lines in all\t%d in %d files\n", sum, len(t.files))
	fmt.Fprintf(out, "lines per file, p50/p90/max\t%s\n", spread(t.files))
	fmt.Fprintf(out, "lines per function, p50/p90/max\t%s\n", spread(t.functions))
	var exports []int
	names := slices.Collect(maps.Keys(t.exports))
	for _, p := range names {
		exports = append(exports, len(t.exports[p]))
	}
	fmt.Fprintf(out, "exports per package, p50/p90/max\t%s in %d packages\n", spread(exports), len(exports))
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(len(t.exports[b]), len(t.exports[a])) })
	for _, p := range names[:min(8, len(names))] {
		fmt.Fprintf(out, "exports of %s\t%d\n", p, len(t.exports[p]))
	}
	for _, w := range words {
		fmt.Fprintf(out, "comment word %q per 10,000\t%.0f\n", w, t.rate(w))
	}
}

// spread returns the median, the 90th percentile and the largest of v.
func spread(v []int) string {
	if len(v) == 0 {
		return "-"
	}
	slices.Sort(v)
	return fmt.Sprintf("%d/%d/%d", v[len(v)/2], v[len(v)*9/10], v[len(v)-1])
}
