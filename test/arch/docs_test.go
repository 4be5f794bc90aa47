package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// packages returns the directories of this module that contain Go files.
func packages(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if path != root && (nested == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if dir := filepath.Dir(path); strings.HasSuffix(path, ".go") && !seen[dir] {
			seen[dir] = true
			dirs = append(dirs, dir)
		}
		return nil
	})
	if err != nil || len(dirs) < 20 {
		t.Fatalf("found %d packages: %v", len(dirs), err)
	}
	return dirs
}

// parse returns the Go files in dir.
func parse(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

func TestEveryPackageHasAComment(t *testing.T) {
	for _, dir := range packages(t) {
		found := 0
		for _, f := range parse(t, dir) {
			if f.Doc != nil {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s has %d package comments, want one", strings.TrimPrefix(dir, root+"/"), found)
		}
	}
}

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	// place matches `path/file.go`: `Name`, `Name` …
	place = regexp.MustCompile("`([^`\n]+\\.go)`:((?:[ \n]+`\\w+`,?)+)")
)

// Paths and declarations that the documents name must exist.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	documents, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	named := 0
	for _, doc := range append(documents, root+"/README.md") {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			top, _, isPath := strings.Cut(m[1], "/")
			if !isPath || top == "" || strings.ContainsAny(m[1], "<…* ") { // "/etc" is a path of a host
				continue
			}
			if st, err := os.Stat(filepath.Join(root, top)); err != nil || !st.IsDir() {
				continue // not of this tree
			}
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: %v", filepath.Base(doc), m[1], err)
			}
		}
		for _, m := range place.FindAllStringSubmatch(text, -1) {
			source, err := os.ReadFile(filepath.Join(root, m[1]))
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(doc), err)
				continue
			}
			for _, name := range quoted.FindAllStringSubmatch(m[2], -1) {
				named++
				declared := regexp.MustCompile(`(?m)^(func (\(.*?\) )?|type )` + name[1] + `[ ([]`)
				if !declared.Match(source) {
					t.Errorf("%s: %s does not declare %s", filepath.Base(doc), m[1], name[1])
				}
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d names were looked up", named)
	}
}

var (
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInURL = regexp.MustCompile(`[^\pL\pN _-]`)
)

// anchors returns the names of the headings of a document in addresses, "#a-heading".
func anchors(t *testing.T, document string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(string(b), -1) {
		out["#"+strings.ReplaceAll(notInURL.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return out
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// Links between the documents lead to files of this tree.
func TestLinksOfDocuments(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/zh-CN/*.md", "bundle/*.md", "test/lab/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	links := 0
	for _, doc := range documents {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			target := filepath.Join(filepath.Dir(doc), m[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", filepath.Base(doc), m[1], err)
			} else if m[2] != "" && !anchors(t, target)[m[2]] {
				t.Errorf("%s links to %s%s: there is no such heading", filepath.Base(doc), m[1], m[2])
			}
		}
	}
	if links < 40 {
		t.Errorf("only %d links were looked up", links)
	}
}
