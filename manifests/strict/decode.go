package strict

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var timeType = reflect.TypeFor[time.Time]()

func (d *Document) decodeRoot(n ast.Node, v any) {
	d.decode(n, reflect.ValueOf(v).Elem(), "", 0)
}

// decode sets v, which is settable, from n. Fields that n does not mention keep
// their value, so that decoding into a filled value merges. Maps and lists are
// copied first, since another value may share them.
func (d *Document) decode(n ast.Node, v reflect.Value, path string, depth int) {
	d.at[path] = nodePos(n)
	if !d.plain(n, path, depth) {
		return
	}
	if _, null := n.(*ast.NullNode); null {
		v.SetZero()
		return
	}
	if v.Type() == timeType {
		d.decodeTime(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem())
		}
		d.decode(n, p.Elem(), path, depth)
		v.Set(p)
	case reflect.Struct:
		d.decodeStruct(n, v, path, depth)
	case reflect.Map:
		d.decodeMap(n, v, path, depth)
	case reflect.Slice:
		d.decodeSlice(n, v, path, depth, "")
	case reflect.Interface:
		d.decodeAny(n, v, path, depth)
	default:
		d.decodeScalar(n, v, path)
	}
}

// plain refuses anchors, aliases and tags, with which a short text can stand for
// a huge one or for something else than it seems, and deep nesting.
func (d *Document) plain(n ast.Node, path string, depth int) bool {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		d.add(nodePos(n), path, "anchors and aliases are not supported", "write the value out")
		return false
	case *ast.TagNode:
		d.add(nodePos(n), path, "tags are not supported", "remove it")
		return false
	}
	if depth > maxYAMLDepth {
		d.add(nodePos(n), "", fmt.Sprintf("nested deeper than %d levels", maxYAMLDepth), "")
		return false
	}
	return true
}

// pair is one key of a mapping.
type pair struct {
	key   string
	path  string
	at    position
	value ast.Node
}

// pairs returns the pairs of a mapping. A duplicate key is a problem.
func (d *Document) pairs(n ast.Node, path, want string) ([]pair, bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.mismatch(n, path, want)
		return nil, false
	}
	seen := map[string]position{}
	var out []pair
	for _, mv := range values {
		at := nodePos(mv.Key)
		key, ok := scalarText(mv.Key)
		if !ok || mv.Key.IsMergeKey() {
			d.add(at, path, "the key is not a plain text", "")
			continue
		}
		p := pair{key, JoinPath(path, key), at, mv.Value}
		if first, dup := seen[key]; dup {
			d.add(at, p.path, fmt.Sprintf("duplicate key %q, first on line %d", key, first.line), "")
			continue
		}
		seen[key] = at
		out = append(out, p)
	}
	return out, true
}

func (d *Document) decodeStruct(n ast.Node, v reflect.Value, path string, depth int) {
	pairs, ok := d.pairs(n, path, "a mapping")
	if !ok {
		return
	}
	fields := yamlFields(v.Type())
	for _, p := range pairs {
		f, known := fields[p.key]
		if !known {
			d.add(p.at, p.path, "unknown field", suggest(p.key, slices.Sorted(maps.Keys(fields))))
			continue
		}
		fv := v.FieldByIndex(f.Index)
		if key := f.Tag.Get("merge"); key != "" && fv.Kind() == reflect.Slice {
			d.at[p.path] = p.at
			d.decodeSlice(p.value, fv, p.path, depth+1, key)
			continue
		}
		d.decode(p.value, fv, p.path, depth+1)
		d.pointAtKey(p)
	}
}

// pointAtKey sets the position of a mapping or list to that of its key.
func (d *Document) pointAtKey(p pair) {
	if _, scalar := scalarText(p.value); !scalar {
		d.at[p.path] = p.at
	}
}

func (d *Document) decodeMap(n ast.Node, v reflect.Value, path string, depth int) {
	pairs, ok := d.pairs(n, path, "a mapping")
	if !ok {
		return
	}
	m := reflect.MakeMap(v.Type())
	if d.merging {
		for _, k := range v.MapKeys() {
			m.SetMapIndex(k, v.MapIndex(k))
		}
	}
	for _, p := range pairs {
		k := reflect.ValueOf(p.key).Convert(v.Type().Key())
		e := reflect.New(v.Type().Elem()).Elem()
		if old := m.MapIndex(k); old.IsValid() {
			e.Set(old)
		}
		d.decode(p.value, e, p.path, depth+1)
		d.pointAtKey(p)
		m.SetMapIndex(k, e)
	}
	v.Set(m)
}

// decodeSlice replaces the list or, if key is set, merges it by the field key.
func (d *Document) decodeSlice(n ast.Node, v reflect.Value, path string, depth int, key string) {
	if !d.plain(n, path, depth) {
		return
	}
	if _, null := n.(*ast.NullNode); null {
		v.SetZero()
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.mismatch(n, path, "a list")
		if s, scalar := scalarText(n); scalar && s != "" && v.Type().Elem().Kind() == reflect.String {
			words := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
			d.problems[len(d.problems)-1].Hint = "write [" + strings.Join(words, ", ") + "]"
		}
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(seq.Values))
	if d.merging && key != "" {
		out = reflect.AppendSlice(out, v)
	}
	for i, item := range seq.Values {
		e := reflect.New(v.Type().Elem()).Elem()
		at, name := -1, strconv.Itoa(i)
		if key != "" {
			if k, ok := keyOf(item, key); ok {
				name = k
				at = d.existing(v, out, key, k)
			}
		}
		if at >= 0 {
			e.Set(out.Index(at))
		}
		d.decode(item, e, path+"["+name+"]", depth+1)
		if at >= 0 {
			out.Index(at).Set(e)
		} else {
			out = reflect.Append(out, e)
		}
	}
	v.Set(out)
}

// keyOf returns the text of the field key of a mapping.
func keyOf(item ast.Node, key string) (string, bool) {
	m, ok := item.(*ast.MappingNode)
	if !ok {
		return "", false
	}
	for _, mv := range m.Values {
		if k, _ := scalarText(mv.Key); k == key {
			return scalarText(mv.Value)
		}
	}
	return "", false
}

// existing returns the index of the element to merge into, or -1. Only elements
// of base, which out starts with, qualify: merging into one that this document
// added would hide a duplicate name.
func (d *Document) existing(base, out reflect.Value, key, value string) int {
	if !d.merging {
		return -1
	}
	field := yamlFields(base.Type().Elem())[key]
	for i := range base.Len() {
		if out.Index(i).FieldByIndex(field.Index).String() == value {
			return i
		}
	}
	return -1
}

// decodeAny sets v to nil, bool, int64, float64, string, []any and map[string]any.
func (d *Document) decodeAny(n ast.Node, v reflect.Value, path string, depth int) {
	set := func(x any) { v.Set(reflect.ValueOf(x)) }
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		m, _ := v.Interface().(map[string]any)
		mv := reflect.New(reflect.TypeFor[map[string]any]()).Elem()
		mv.Set(reflect.ValueOf(m))
		d.decodeMap(n, mv, path, depth)
		set(mv.Interface())
	case *ast.SequenceNode:
		var s []any
		sv := reflect.ValueOf(&s).Elem()
		d.decodeSlice(n, sv, path, depth, "")
		set(s)
	case *ast.BoolNode:
		set(n.Value)
	case *ast.IntegerNode:
		if i, ok := integer(n); ok {
			set(i)
			return
		}
		d.add(nodePos(n), path, "the number does not fit 64 bits", "")
	case *ast.FloatNode:
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			d.mismatch(n, path, "a finite number")
			return
		}
		set(n.Value)
	default:
		if s, ok := scalarText(n); ok {
			set(s)
			return
		}
		d.mismatch(n, path, "a value")
	}
}

func (d *Document) decodeTime(n ast.Node, v reflect.Value, path string) {
	s, ok := scalarText(n)
	if !ok {
		d.mismatch(n, path, "a time")
		return
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			v.Set(reflect.ValueOf(t.UTC()))
			return
		}
	}
	d.add(nodePos(n), path, fmt.Sprintf("%q is not a time", s), "write 2027-01-31 or 2027-01-31T12:00:00Z")
}

func (d *Document) decodeScalar(n ast.Node, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := scalarText(n); ok {
			v.SetString(s)
			return
		}
		d.mismatch(n, path, "a text")
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
			return
		}
		d.mismatch(n, path, "true or false")
	case reflect.Int, reflect.Int64:
		if in, ok := n.(*ast.IntegerNode); ok {
			if i, ok := integer(in); ok && !v.OverflowInt(i) {
				v.SetInt(i)
				return
			}
		}
		d.mismatch(n, path, "a whole number")
	default:
		d.mismatch(n, path, v.Kind().String())
	}
}

func integer(n *ast.IntegerNode) (int64, bool) {
	switch i := n.Value.(type) {
	case int64:
		return i, true
	case uint64:
		return int64(i), i <= math.MaxInt64
	}
	return 0, false
}

func (d *Document) mismatch(n ast.Node, path, want string) {
	found := "nothing"
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		found = "a mapping"
	case *ast.SequenceNode:
		found = "a list"
	default:
		if s, ok := scalarText(n); ok {
			found = strconv.Quote(shortened(s))
		}
	}
	d.add(nodePos(n), path, fmt.Sprintf("want %s, found %s", want, found), "")
}

// shortened returns s, or its beginning if it is long: a file of another kind may be one
// long scalar.
func shortened(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// scalarText returns the text of a scalar as written in the document: 1.20 stays
// 1.20 and true stays true.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		return "", true
	}
	return "", false
}

var plainKey = NewPattern(`^[A-Za-z0-9_-]+$`)

// JoinPath returns the path of key in the mapping at path, as Problem.Path has it.
func JoinPath(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// yamlFields returns the fields of a struct by their name in YAML.
func yamlFields(t reflect.Type) map[string]reflect.StructField { return taggedFields(t, "yaml") }
