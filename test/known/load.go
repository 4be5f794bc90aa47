package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// loader type-checks packages of Go modules from their sources. It is the importer of
// the type checker, and knows packages of other modules than the given ones by name only,
// which is enough for flags and struct tags.
type loader struct {
	fset *token.FileSet
	// versions of modules by path, without those of Kubernetes.
	versions map[string]string
	// kubernetes is the version of k8s.io/kubernetes, "1.36.3"; empty for etcd.
	kubernetes string

	dirs   map[string]string // of modules by path; empty if the proxy has none
	pkgs   map[string]*types.Package
	bodies map[string]*source
}

// source is a package with the bodies of its functions.
type source struct {
	info  *types.Info
	funcs map[string]*ast.FuncDecl // by funcKey
}

func newLoader(kubernetes string, versions map[string]string) *loader {
	return &loader{
		fset: token.NewFileSet(), versions: versions, kubernetes: kubernetes,
		dirs: map[string]string{}, pkgs: map[string]*types.Package{}, bodies: map[string]*source{},
	}
}

// Import returns a package without the bodies of its functions.
func (l *loader) Import(p string) (*types.Package, error) {
	if p == "unsafe" {
		return types.Unsafe, nil
	}
	if pkg := l.pkgs[p]; pkg != nil {
		return pkg, nil
	}
	pkg := emptyPackage(p)
	if needed(p) && l.dir(p) != "" {
		pkg, _ = l.check(p, l.parse(l.dir(p)), true)
	}
	l.pkgs[p] = pkg
	return pkg, nil
}

// needed reports whether a package may contain flags, options or constants for their names.
// A call with flags into another one is reported as unresolved.
func needed(p string) bool {
	switch {
	case p == "flag" || p == "fmt" || p == "time" || strings.HasPrefix(p, "github.com/spf13/") || strings.HasPrefix(p, "go.etcd.io/etcd"):
		return true
	case slices.Contains([]string{"k8s.io/api/core/v1", "k8s.io/api/apps/v1", "k8s.io/api/batch/v1"}, p):
		return true
	case strings.HasPrefix(p, "k8s.io/api/") || strings.HasPrefix(p, "k8s.io/apimachinery/") || strings.HasPrefix(p, "k8s.io/client-go/"):
		return false
	}
	for _, part := range []string{
		"/cmd/", "/component-base", "options", "config", "flag", "/klog", "/logs", "/features", "/controlplane", "/kubeapiserver",
		"/leaderelection", "/apis/", "/plugin/pkg/", "/util/feature", "/util/version", "/cloud-provider", "/controller-manager", "/drain",
	} {
		if strings.Contains(p, part) {
			return true
		}
	}
	return false
}

// source returns a package with the bodies of its functions, nil if its module is not loaded.
func (l *loader) source(p string) *source {
	if s, ok := l.bodies[p]; ok {
		return s
	}
	l.bodies[p] = nil
	dir := l.dir(p)
	if dir == "" {
		return nil
	}
	files := l.parse(dir)
	s := &source{funcs: map[string]*ast.FuncDecl{}}
	_, s.info = l.check(p, files, false)
	for _, f := range files {
		for _, d := range f.Decls {
			if fd, ok := d.(*ast.FuncDecl); ok && fd.Body != nil {
				if obj, ok := s.info.Defs[fd.Name].(*types.Func); ok {
					s.funcs[funcKey(obj)] = fd
				}
			}
		}
	}
	l.bodies[p] = s
	return s
}

func (l *loader) parse(dir string) []*ast.File {
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = "linux", "amd64", false
	entries, _ := os.ReadDir(dir)
	var out []*ast.File
	for _, e := range entries {
		n := e.Name()
		// Generated code is large and defines no flags.
		if !strings.HasSuffix(n, ".go") || strings.HasSuffix(n, "_test.go") || strings.HasSuffix(n, ".pb.go") ||
			strings.HasPrefix(n, "zz_generated") {
			continue
		}
		if ok, err := ctx.MatchFile(dir, n); err != nil || !ok {
			continue
		}
		if f, err := parser.ParseFile(l.fset, filepath.Join(dir, n), nil, parser.SkipObjectResolution); err == nil {
			out = append(out, f)
		}
	}
	return out
}

// check type-checks files and goes on after errors: some packages are empty.
func (l *loader) check(p string, files []*ast.File, skipBodies bool) (*types.Package, *types.Info) {
	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	conf := types.Config{Importer: l, IgnoreFuncBodies: skipBodies, FakeImportC: true, Error: func(error) {}}
	if skipBodies {
		info = nil
	}
	pkg, _ := conf.Check(p, l.fset, files, info)
	return pkg, info
}

// dir returns the directory of a package, empty if its module is not loaded.
func (l *loader) dir(p string) string {
	first, _, _ := strings.Cut(p, "/")
	if !strings.Contains(first, ".") {
		return filepath.Join(build.Default.GOROOT, "src", p)
	}
	for m := p; m != "."; m = path.Dir(m) {
		if d := l.module(m); d != "" {
			return filepath.Join(d, strings.TrimPrefix(p, m))
		}
	}
	return ""
}

// module returns the directory of a module, which it downloads if need be.
func (l *loader) module(m string) string {
	if d, ok := l.dirs[m]; ok {
		return d
	}
	d := ""
	switch v := l.versions[m]; {
	case v != "":
		d = download(m, v)
	case strings.HasPrefix(m, "k8s.io/") && strings.Count(m, "/") == 1 && l.kubernetes != "" && released(m):
		d = l.nearest(m)
	}
	l.dirs[m] = d
	return d
}

// released reports whether Kubernetes publishes the module with its own version.
func released(m string) bool {
	return !slices.Contains([]string{"klog", "utils", "kube-openapi", "gengo", "heapster", "system-validators"}, path.Base(m))
}

// nearest returns the directory of a module that is published as v1.X.Y or v0.X.Y with
// Kubernetes 1.X.Y. The proxy lacks some patches; the ones beside have the same flags.
func (l *loader) nearest(m string) string {
	v := strings.Split(l.kubernetes, ".")
	patch, _ := strconv.Atoi(v[2])
	major := "0"
	if m == "k8s.io/kubernetes" {
		major = "1"
	}
	for _, p := range append([]int{patch, patch + 1}, below(patch)...) {
		if d := download(m, fmt.Sprintf("v%s.%s.%d", major, v[1], p)); d != "" {
			return d
		}
	}
	return ""
}

// below returns patch-1 … 0.
func below(patch int) []int {
	var out []int
	for p := patch - 1; p >= 0; p-- {
		out = append(out, p)
	}
	return out
}

func download(module, version string) string {
	cmd := exec.Command("go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir = os.TempDir() // outside of any module
	out, err := cmd.Output()
	var m struct{ Dir string }
	if err != nil || json.Unmarshal(out, &m) != nil {
		return ""
	}
	return m.Dir
}

func emptyPackage(p string) *types.Package {
	name := path.Base(p)
	if strings.HasPrefix(name, "v") && len(name) < 4 {
		name = path.Base(path.Dir(p))
	}
	pkg := types.NewPackage(p, name)
	pkg.MarkComplete()
	return pkg
}
