package strict

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Document decodes a YAML file. It records the position of each value and
// collects every problem.
type Document struct {
	file             string
	apiVersion, kind string
	at               map[string]position // by path
	problems         []Problem
	other            string // kind of the document, if it is another one
	// merging makes maps and keyed lists add to the value they are decoded into.
	merging bool
}

// New returns a Document that requires this apiVersion and kind; file is its name
// in messages.
func New(file, apiVersion, kind string) *Document {
	return &Document{file: file, apiVersion: apiVersion, kind: kind, at: map[string]position{}}
}

// Decode decodes data, one YAML document, into the struct that v points to. It
// returns false if data is not YAML, or a document of another kind; Err returns the
// problems.
func (d *Document) Decode(data []byte, v any) bool {
	root, ok := d.parse(data)
	if !ok {
		return false
	}
	d.decodeRoot(root, v)
	return d.header(v)
}

// Merge is Decode into a filled value: maps add to it by key, and so do lists if
// their field has a merge tag with the name of the key. The decoder merges,
// instead of a pass over generic maps, since it knows the position of each value
// and tells a null from a missing value.
func (d *Document) Merge(data []byte, v any) bool {
	d.merging = true
	return d.Decode(data, v)
}

// Has reports whether the document has a value at path.
func (d *Document) Has(path string) bool {
	_, ok := d.at[path]
	return ok
}

// Report adds problems and sets their position from Path. It drops those about a
// value that could not be decoded, or that contains such a value: they would
// call missing a value that the user did write.
func (d *Document) Report(problems []Problem) {
	unread := slices.Clone(d.problems)
	d.place(slices.DeleteFunc(problems, func(p Problem) bool {
		return slices.ContainsFunc(unread, func(u Problem) bool { return strings.HasPrefix(u.Path, p.Path) })
	}))
}

// Problems returns the problems found so far.
func (d *Document) Problems() []Problem { return d.problems }

// Err returns the problems as an *Error, or nil if there are none.
func (d *Document) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	err := NewError(d.problems)
	err.Kind = d.other
	return err
}

// header checks apiVersion and kind. If the document names another kind, it drops
// all other problems and returns false: the fields are those of that kind.
func (d *Document) header(v any) bool {
	s := reflect.ValueOf(v).Elem()
	kind := s.FieldByName("Kind").String()
	if kind != "" && kind != d.kind {
		d.problems, d.other = nil, kind
	}
	for _, f := range []struct{ field, path, want string }{
		{"APIVersion", "apiVersion", d.apiVersion},
		{"Kind", "kind", d.kind},
	} {
		got := s.FieldByName(f.field).String()
		if d.Has(f.path) && got == f.want {
			continue
		}
		d.place([]Problem{{Path: f.path, Message: fmt.Sprintf("found %q, want %q", got, f.want)}})
	}
	return d.other == ""
}

func (d *Document) add(p position, path, message, hint string) {
	d.problems = append(d.problems, Problem{
		File: d.file, Line: p.line, Column: p.column, Path: path, Message: message, Hint: hint,
	})
}

// place adds problems with the position of their path. If the document lacks the
// path, the position is that of its nearest parent.
func (d *Document) place(problems []Problem) {
	for _, p := range problems {
		at := d.nearest(p.Path)
		p.File, p.Line, p.Column = d.file, at.line, at.column
		d.problems = append(d.problems, p)
	}
}

func (d *Document) nearest(path string) position {
	for path != "" {
		if p, ok := d.at[path]; ok {
			return p
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return d.at[""]
}
