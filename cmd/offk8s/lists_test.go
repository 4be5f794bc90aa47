package main

import (
	"encoding/json"
	"testing"
)

type innerLists struct {
	Names []string `json:"names"`
	Rest  []string `json:"rest,omitempty"`
}

type outerLists struct {
	innerLists
	Parts []innerLists    `json:"parts"`
	At    *innerLists     `json:"at"`
	Raw   []byte          `json:"-"`
	Doc   json.RawMessage `json:"doc"`
}

func TestWithLists(t *testing.T) {
	v := outerLists{Parts: []innerLists{{}}, At: &innerLists{}}
	for _, tt := range []struct {
		v    any
		want string
	}{
		{v, `{"names":[],"parts":[{"names":[]}],"at":{"names":[]},"doc":null}`},
		{&v, `{"names":[],"parts":[{"names":[]}],"at":{"names":[]},"doc":null}`},
		{outerLists{}, `{"names":[],"parts":[],"at":null,"doc":null}`},
		{[]string(nil), `[]`},
		{map[string]any{"a": nil}, `{"a":null}`},
		{nil, `null`},
	} {
		got, err := json.Marshal(withLists(tt.v))
		if err != nil || string(got) != tt.want {
			t.Errorf("%+v: found %s, %v, want %s", tt.v, got, err, tt.want)
		}
	}
}
