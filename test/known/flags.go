package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// scan collects the flags that functions define, and follows their calls.
type scan struct {
	*loader
	found      map[string]bool
	seen       map[string]bool
	unresolved map[string]bool // positions of definitions whose names are no constants
}

// flagsOf returns the flags that a function of a package defines, directly or in the
// functions that it gives a flag set to or receives one from.
func (l *loader) flagsOf(p, function string) (names, unresolved []string, err error) {
	s := &scan{loader: l, found: map[string]bool{}, seen: map[string]bool{}, unresolved: map[string]bool{}}
	src := l.source(p)
	if src == nil || src.funcs[p+"."+function] == nil {
		return nil, nil, fmt.Errorf("kubernetes %s: %s: no function %s", l.kubernetes, p, function)
	}
	s.visit(p, p+"."+function, nil)
	return slices.Sorted(maps.Keys(s.found)), slices.Sorted(maps.Keys(s.unresolved)), nil
}

// env holds the constant arguments of a call by parameter.
type env map[string]string

func (s *scan) visit(p, key string, args env) {
	id := fmt.Sprint(key, args)
	if s.seen[id] {
		return
	}
	s.seen[id] = true
	src := s.source(p)
	if src == nil || src.funcs[key] == nil {
		return
	}
	f := src.funcs[key]
	vars := maps.Clone(args)
	if vars == nil {
		vars = env{}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, lhs := range n.Lhs {
				if id, ok := lhs.(*ast.Ident); ok && len(n.Lhs) == len(n.Rhs) {
					if v, ok := value(src, n.Rhs[i], vars); ok {
						vars[id.Name] = v
					}
				}
			}
		case *ast.CallExpr:
			s.call(src, n, vars)
		}
		return true
	})
}

func (s *scan) call(src *source, call *ast.CallExpr, vars env) {
	f := callee(src, call)
	if f == nil {
		if takesFlags(src, call) {
			s.unresolved[s.fset.Position(call.Pos()).String()+": call of a value"] = true
		}
		return
	}
	sig := f.Type().(*types.Signature)
	if sig.Recv() != nil && isFlagSet(sig.Recv().Type()) {
		if i := nameIndex(f.Name(), sig); i >= 0 && i < len(call.Args) {
			s.define(src, call, call.Args[i], vars)
		}
		return
	}
	if f.Pkg() == nil || !mentionsFlags(sig) && f.Name() != "initFlags" && !strings.HasPrefix(f.Name(), "NewOptions") || f.Name() == "PrintSections" {
		return
	}
	args := env{}
	for i := range min(sig.Params().Len(), len(call.Args)) {
		if v, ok := value(src, call.Args[i], vars); ok {
			args[sig.Params().At(i).Name()] = v
		}
	}
	s.visit(f.Pkg().Path(), funcKey(f), args)
	if sig.Recv() != nil && types.IsInterface(sig.Recv().Type()) {
		s.implementations(f, args)
	}
}

// implementations visits the methods of that name in the package of an interface.
func (s *scan) implementations(f *types.Func, args env) {
	src := s.source(f.Pkg().Path())
	if src == nil {
		return
	}
	for k := range src.funcs {
		if strings.HasPrefix(k, f.Pkg().Path()+".") && strings.HasSuffix(k, ")."+f.Name()) {
			s.visit(f.Pkg().Path(), k, args)
		}
	}
}

func (s *scan) define(src *source, call *ast.CallExpr, name ast.Expr, vars env) {
	if v, ok := value(src, name, vars); ok {
		s.found[strings.ReplaceAll(v, "_", "-")] = true
		return
	}
	s.unresolved[s.fset.Position(call.Pos()).String()] = true
}

// value returns the string of a constant, of a variable in vars, or of a sum of both.
func value(src *source, e ast.Expr, vars env) (string, bool) {
	if tv, ok := src.info.Types[e]; ok && tv.Value != nil && tv.Value.Kind() == constant.String {
		return constant.StringVal(tv.Value), true
	}
	switch e := e.(type) {
	case *ast.Ident:
		v, ok := vars[e.Name]
		return v, ok
	case *ast.BinaryExpr:
		x, ok1 := value(src, e.X, vars)
		y, ok2 := value(src, e.Y, vars)
		return x + y, ok1 && ok2 && e.Op == token.ADD
	case *ast.ParenExpr:
		return value(src, e.X, vars)
	case *ast.CallExpr:
		return sprintf(src, e, vars)
	}
	return "", false
}

// sprintf returns the result of a fmt.Sprintf with strings that value knows.
func sprintf(src *source, call *ast.CallExpr, vars env) (string, bool) {
	f := callee(src, call)
	if f == nil || f.FullName() != "fmt.Sprintf" {
		return "", false
	}
	var args []any
	for _, a := range call.Args {
		v, ok := value(src, a, vars)
		if !ok {
			return "", false
		}
		args = append(args, v)
	}
	return fmt.Sprintf(args[0].(string), args[1:]...), true
}

func callee(src *source, call *ast.CallExpr) *types.Func {
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		f, _ := src.info.Uses[fun].(*types.Func)
		return f
	case *ast.SelectorExpr:
		if sel := src.info.Selections[fun]; sel != nil {
			f, _ := sel.Obj().(*types.Func)
			return f
		}
		f, _ := src.info.Uses[fun.Sel].(*types.Func)
		return f
	}
	return nil
}

// nameIndex returns the index of the argument that names the flag which the method of a
// flag set defines, -1 if it defines none.
func nameIndex(method string, sig *types.Signature) int {
	// Lookup names flags of another set that are taken over.
	for _, p := range []string{"Mark", "Set", "Changed", "Get", "Shorthand", "Parse", "Init"} {
		if strings.HasPrefix(method, p) {
			return -1
		}
	}
	for i := range sig.Params().Len() {
		if sig.Params().At(i).Name() == "name" {
			return i
		}
	}
	return -1
}

func isFlagSet(t types.Type) bool {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	n, ok := t.(*types.Named)
	if !ok || n.Obj().Pkg() == nil {
		return false
	}
	switch n.Obj().Pkg().Path() {
	case "github.com/spf13/pflag", "flag":
		return n.Obj().Name() == "FlagSet"
	case "k8s.io/component-base/logs/api/v1": // an interface for both
		return n.Obj().Name() == "flagSet"
	}
	return false
}

func carriesFlags(t types.Type) bool {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	n, ok := t.(*types.Named)
	return isFlagSet(t) || ok && n.Obj().Name() == "NamedFlagSets"
}

func mentionsFlags(sig *types.Signature) bool {
	for _, tuple := range []*types.Tuple{sig.Params(), sig.Results()} {
		for i := range tuple.Len() {
			if carriesFlags(tuple.At(i).Type()) {
				return true
			}
		}
	}
	return sig.Recv() != nil && carriesFlags(sig.Recv().Type())
}

func takesFlags(src *source, call *ast.CallExpr) bool {
	return slices.ContainsFunc(call.Args, func(a ast.Expr) bool {
		t := src.info.Types[a].Type
		return t != nil && isFlagSet(t)
	})
}

// funcKey returns a name that is the same in every check of the package.
func funcKey(f *types.Func) string {
	sig := f.Type().(*types.Signature)
	if sig.Recv() == nil {
		return f.Pkg().Path() + "." + f.Name()
	}
	t := sig.Recv().Type()
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok {
		return f.Pkg().Path() + ".(" + n.Obj().Name() + ")." + f.Name()
	}
	return f.Pkg().Path() + ".(?)." + f.Name()
}
