package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// fieldsOf returns the JSON paths of the fields of a struct, such as "authentication.anonymous.enabled".
func (l *loader) fieldsOf(p, name string) []string {
	pkg, _ := l.Import(p)
	obj := pkg.Scope().Lookup(name)
	if obj == nil {
		return nil
	}
	out := []string{"apiVersion", "kind"} // of TypeMeta
	walkFields(obj.Type(), "", &out, 0)
	slices.Sort(out)
	return slices.Compact(out)
}

// apart are fields that are not entered: PodTemplateSpec stands by itself, and all containers are alike.
var apart = []string{"template", "initContainers", "ephemeralContainers"}

func walkFields(t types.Type, prefix string, out *[]string, depth int) {
	switch u := t.(type) {
	case *types.Pointer:
		walkFields(u.Elem(), prefix, out, depth)
		return
	case *types.Slice:
		walkFields(u.Elem(), prefix, out, depth)
		return
	}
	st, ok := t.Underlying().(*types.Struct)
	if !ok || depth > 8 {
		return
	}
	for i := range st.NumFields() {
		tag := reflect.StructTag(st.Tag(i)).Get("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case strings.Contains(options, "inline"):
			walkFields(st.Field(i).Type(), prefix, out, depth)
		case name != "" && name != "-":
			*out = append(*out, prefix+name)
			if !slices.Contains(apart, name) {
				walkFields(st.Field(i).Type(), prefix+name+".", out, depth+1)
			}
		}
	}
}

// lifecycle holds the minors in which a kind of an API version came and went, by the
// generated code of Kubernetes; 0 if unknown.
type lifecycle struct{ introduced, removed int }

// kindsOf returns the stored kinds, as "group/version Kind", that the API modules of a
// minor define, with their lifecycles. Alpha versions are left out.
func (l *loader) kindsOf() map[string]lifecycle {
	out := map[string]lifecycle{}
	for _, root := range []string{
		l.module("k8s.io/api"), filepath.Join(l.module("k8s.io/apiextensions-apiserver"), "pkg/apis"),
		filepath.Join(l.module("k8s.io/kube-aggregator"), "pkg/apis"),
	} {
		dirs, _ := filepath.Glob(root + "/*/v*")
		for _, d := range dirs {
			if !strings.Contains(filepath.Base(d), "alpha") {
				kindsIn(d, out)
			}
		}
	}
	return out
}

func kindsIn(dir string, out map[string]lifecycle) {
	group, kinds, lives := "", []string{}, map[string]lifecycle{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		n := e.Name()
		if !strings.HasSuffix(n, ".go") || strings.HasSuffix(n, "_test.go") || strings.HasSuffix(n, ".pb.go") || strings.HasPrefix(n, "zz_generated.deep") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, n), nil, parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					kinds = append(kinds, kind(spec)...)
					if g, ok := groupName(spec); ok {
						group = g
					}
				}
			case *ast.FuncDecl:
				addLifecycle(d, lives)
			}
		}
	}
	for _, k := range kinds {
		out[strings.TrimPrefix(group+"/"+filepath.Base(dir), "/")+" "+k] = lives[k]
	}
}

// kind returns the name of a struct with TypeMeta and ObjectMeta.
func kind(spec ast.Spec) []string {
	ts, ok := spec.(*ast.TypeSpec)
	if !ok {
		return nil
	}
	st, ok := ts.Type.(*ast.StructType)
	if !ok {
		return nil
	}
	var embedded []string
	for _, f := range st.Fields.List {
		if sel, ok := f.Type.(*ast.SelectorExpr); ok && len(f.Names) == 0 {
			embedded = append(embedded, sel.Sel.Name)
		}
	}
	if slices.Contains(embedded, "TypeMeta") && slices.Contains(embedded, "ObjectMeta") {
		return []string{ts.Name.Name}
	}
	return nil
}

func groupName(spec ast.Spec) (string, bool) {
	vs, ok := spec.(*ast.ValueSpec)
	if !ok || len(vs.Names) != 1 || vs.Names[0].Name != "GroupName" || len(vs.Values) != 1 {
		return "", false
	}
	lit, ok := vs.Values[0].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// addLifecycle reads methods such as func (in *CronJob) APILifecycleRemoved() (major, minor int) { return 1, 25 }.
func addLifecycle(d *ast.FuncDecl, lives map[string]lifecycle) {
	what, ok := strings.CutPrefix(d.Name.Name, "APILifecycle")
	if !ok || d.Recv == nil || what != "Introduced" && what != "Removed" {
		return
	}
	star, ok := d.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return
	}
	ret, ok := d.Body.List[0].(*ast.ReturnStmt)
	if !ok || len(ret.Results) != 2 {
		return
	}
	lit, ok := ret.Results[1].(*ast.BasicLit)
	if !ok {
		return
	}
	minor, _ := strconv.Atoi(lit.Value)
	k := star.X.(*ast.Ident).Name
	life := lives[k]
	if what == "Removed" {
		life.removed = minor
	} else {
		life.introduced = minor
	}
	lives[k] = life
}
