// Package fields describes the fields of documents by the Go types that they are read into
// or written from: their names by the tags, their descriptions by the comments. Explain, the
// JSON Schema and the reference pages in docs show them.
package fields

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Field describes a field of a document.
type Field struct {
	// Path is the way to the field from the root of the document, such as
	// "network.podCIDR"; the elements of the list "hosts" are "hosts[]", and those of the
	// map "images" are "images.*".
	Path string `json:"path"`
	// Type is "string", "integer", "number", "boolean", "date", "object" or "any value", or
	// "list of …" or "map of …" of one of them.
	Type        string  `json:"type"`
	Required    bool    `json:"required,omitempty"`
	Description string  `json:"description,omitempty"`
	Fields      []Field `json:"fields,omitempty"` // of an object, and of the objects in a list; in the order of the type
}

// Types describes types.
type Types struct {
	// Tag is the key of the tags with the names of fields, "yaml" or "json". A field whose
	// tag has no options, such as omitempty, is required.
	Tag string
	// Comment returns the comment of a field of a type, in one line.
	Comment func(t reflect.Type, field string) string
	// Time is the name of the type of a time.Time, such as "date".
	Time string
	// Shown has types that describe others, by the other.
	Shown map[reflect.Type]reflect.Type
}

// Of returns the fields of t, a struct or a pointer, list or map of structs. For other types
// it returns none. Embedded structs count as part of the one that has them; objects in
// themselves are not described again.
func (x Types) Of(t reflect.Type) []Field { return x.of("", t, nil) }

func (x Types) of(at string, t reflect.Type, above []reflect.Type) []Field {
	elem, below := x.element(t, at)
	if slices.Contains(above, elem) || !x.isObject(elem) {
		return nil
	}
	above = append(above[:len(above):len(above)], elem)
	var out []Field
	for i := range elem.NumField() {
		f := elem.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get(x.Tag), ",")
		switch {
		case f.Anonymous && name == "":
			out = append(out, x.of(below, f.Type, above)...)
			continue
		case name == "-" || !f.IsExported():
			continue
		}
		p := strict.JoinPath(below, name)
		out = append(out, Field{
			Path: p, Type: x.Name(f.Type), Required: options == "", Description: x.describe(elem, f.Name, name),
			Fields: x.of(p, f.Type, above),
		})
	}
	return out
}

// element returns the type of the objects in t, and their path if t is at the path at.
func (x Types) element(t reflect.Type, at string) (reflect.Type, string) {
	if shown, ok := x.Shown[t]; ok {
		return shown, at
	}
	switch t.Kind() {
	case reflect.Pointer:
		return x.element(t.Elem(), at)
	case reflect.Slice:
		return x.element(t.Elem(), at+"[]")
	case reflect.Map:
		return x.element(t.Elem(), strings.TrimPrefix(at+".*", "."))
	}
	return t, at
}

func (x Types) isObject(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]()
}

// Name returns the name of a type as Field.Type has it.
func (x Types) Name(t reflect.Type) string {
	if shown, ok := x.Shown[t]; ok {
		t = shown
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return x.Time
	case x.isObject(t):
		return "object"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return x.Name(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "any value" // as json.RawMessage
		}
		return "list of " + plural(x.Name(t.Elem()))
	case reflect.Map:
		return "map of " + plural(x.Name(t.Elem()))
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	}
	return "any value"
}

func plural(s string) string {
	if first, rest, ok := strings.Cut(s, " of "); ok { // "lists of strings"
		return first + "s of " + rest
	}
	return s + "s"
}

// describe returns the comment of a field, with the name of the document in the place of
// Go's.
func (x Types) describe(t reflect.Type, field, name string) string {
	text := x.Comment(t, field)
	if rest, ok := strings.CutPrefix(text, field); ok && strings.HasPrefix(strings.TrimLeft(rest, ",:"), " ") {
		text = name + rest
	}
	return text
}

// Comments returns the comments of the fields of all types in the Go files of a directory,
// by "Type.Field", each in one line. Tests are left out.
func Comments(dir fs.FS) (map[string]string, error) {
	names, err := fs.Glob(dir, "*.go")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Base(name), source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool { return commentsOf(n, out) })
	}
	return out, nil
}

// commentsOf adds the comments of a type to out. It reports whether there may be types in n.
func commentsOf(n ast.Node, out map[string]string) bool {
	spec, ok := n.(*ast.TypeSpec)
	if !ok {
		return true
	}
	object, ok := spec.Type.(*ast.StructType)
	if !ok {
		return false
	}
	for _, f := range object.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, name := range f.Names {
			out[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
		}
	}
	return false
}
