package fields

import (
	"encoding/json"
	"reflect"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

type node struct {
	Name     string          `json:"name"`
	Children []node          `json:"children,omitempty"`
	Raw      json.RawMessage `json:"raw,omitempty"`
}

type part struct {
	Size float64 `json:"size"`
}

type sample struct {
	part
	When   time.Time           `json:"when"`
	Tree   *node               `json:"tree,omitempty"`
	ByName map[string][]part   `json:"byName"`
	Lists  map[string][]string `json:"lists"`
	Hidden int                 `json:"-"`
	secret int
}

// Embedded structs count as part of the whole; objects in lists, maps and behind pointers are
// described, those in themselves once.
func TestOf(t *testing.T) {
	x := Types{Tag: "json", Time: "time", Comment: func(t reflect.Type, field string) string {
		return map[string]string{"part.Size": "Size is in bytes"}[t.Name()+"."+field]
	}}
	want := []Field{
		{Path: "size", Type: "number", Required: true, Description: "size is in bytes"},
		{Path: "when", Type: "time", Required: true},
		{Path: "tree", Type: "object", Fields: []Field{
			{Path: "tree.name", Type: "string", Required: true},
			{Path: "tree.children", Type: "list of objects"},
			{Path: "tree.raw", Type: "any value"},
		}},
		{Path: "byName", Type: "map of lists of objects", Required: true, Fields: []Field{
			{Path: "byName.*[].size", Type: "number", Required: true, Description: "size is in bytes"},
		}},
		{Path: "lists", Type: "map of lists of strings", Required: true},
	}
	if diff := cmp.Diff(want, x.Of(reflect.TypeFor[sample]())); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if got := x.Of(reflect.TypeFor[[]*node]()); len(got) != 3 || got[0].Path != "[].name" {
		t.Errorf("of a list: %+v", got)
	}
	if got := x.Of(reflect.TypeFor[[]string]()); got != nil {
		t.Errorf("of a list of strings: %+v", got)
	}
	x.Shown = map[reflect.Type]reflect.Type{reflect.TypeFor[node](): reflect.TypeFor[part]()}
	if got := x.Of(reflect.TypeFor[[]node]()); len(got) != 1 || got[0].Path != "[].size" {
		t.Errorf("shown as another type: %+v", got)
	}
	_ = sample{}.secret
}

func TestComments(t *testing.T) {
	got, err := Comments(fstest.MapFS{
		"a.go":      {Data: []byte("package a\n\ntype T struct {\n\t// A and B are\n\t// two.\n\tA, B int\n\tC int // three\n}\n")},
		"a_test.go": {Data: []byte("not Go")},
	})
	want := map[string]string{"T.A": "A and B are two.", "T.B": "A and B are two.", "T.C": "three"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := Comments(fstest.MapFS{"a.go": {Data: []byte("not Go")}}); err == nil {
		t.Error("no error for a file that is no Go")
	}
}
