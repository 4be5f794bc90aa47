package manifests

import (
	"embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/manifests/strict"
)

// fieldSources are the files that declare the types of cluster.yaml and pack.yaml. The
// comments there are the only description of the fields.
//
//go:embed cluster.go cluster_topology.go manifest.go
var fieldSources embed.FS

// Field describes a field of cluster.yaml or pack.yaml.
type Field struct {
	// Path is the way to the field from the root of the document, such as
	// "network.podCIDR"; the elements of the list "hosts" are "hosts[]".
	Path string `json:"path"`
	// Type is "string", "integer", "boolean", "date", "object" or "any value", or
	// "list of …" or "map of …" of one of them.
	Type        string  `json:"type"`
	Required    bool    `json:"required,omitempty"`
	Description string  `json:"description,omitempty"`
	Fields      []Field `json:"fields,omitempty"` // of an object, and of the objects in a list; in the order of the type
}

// ClusterFields returns the fields of cluster.yaml.
func ClusterFields() []Field { return fieldsOf("", reflect.TypeFor[Cluster]()) }

// ManifestFields returns the fields of pack.yaml.
func ManifestFields() []Field { return fieldsOf("", reflect.TypeFor[Manifest]()) }

func fieldsOf(path string, t reflect.Type) []Field {
	var out []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		x := Field{
			Path: strict.JoinPath(path, name), Type: typeName(f.Type),
			Required: options == "", Description: describe(t.Name(), f.Name, name),
		}
		elem, below := f.Type, x.Path
		if elem.Kind() == reflect.Slice {
			elem, below = elem.Elem(), below+"[]"
		}
		if isObject(elem) {
			x.Fields = fieldsOf(below, elem)
		}
		out = append(out, x)
	}
	return out
}

func isObject(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]()
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "date"
	case isObject(t):
		return "object"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + plural(typeName(t.Elem()))
	case reflect.Map:
		return "map of " + plural(typeName(t.Elem()))
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.String:
		return "string"
	}
	return "any value"
}

func plural(s string) string { return s + "s" }

// describe returns the comment of a field of a type, with the name of the document
// in the place of Go's.
func describe(typ, field, name string) string {
	text := comments()[typ+"."+field]
	if rest, ok := strings.CutPrefix(text, field+" "); ok {
		text = name + " " + rest
	}
	return text
}

// comments returns the comments of the fields of all types in fieldSources, by
// "Type.Field", each in one line.
var comments = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	files, err := fieldSources.ReadDir(".")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, file := range files {
		source, err := fieldSources.ReadFile(file.Name())
		if err != nil {
			panic(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			panic(fmt.Sprintf("source of the fields: %v", err)) // it compiles
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
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
		})
	}
	return out
})

// Schema returns the JSON Schema (draft 2020-12) of a document with these fields.
func Schema(title string, fields []Field) map[string]any {
	s := objectSchema(fields)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = title
	return s
}

func objectSchema(fields []Field) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range fields {
		name := f.Path[strings.LastIndex(f.Path, ".")+1:]
		s := typeSchema(f.Type, f.Fields)
		if f.Description != "" {
			s["description"] = f.Description
		}
		properties[name] = s
		if f.Required {
			required = append(required, name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func typeSchema(name string, fields []Field) map[string]any {
	if elem, ok := strings.CutPrefix(name, "list of "); ok {
		return map[string]any{"type": "array", "items": typeSchema(strings.TrimSuffix(elem, "s"), fields)}
	}
	if elem, ok := strings.CutPrefix(name, "map of "); ok {
		return map[string]any{"type": "object", "additionalProperties": typeSchema(strings.TrimSuffix(elem, "s"), nil)}
	}
	switch name {
	case "object":
		return objectSchema(fields)
	case "date":
		return map[string]any{"type": "string", "format": "date"}
	case "any value":
		return map[string]any{}
	}
	return map[string]any{"type": name}
}
