package strict

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// separator is the line between two documents of a stream.
var separator = NewPattern(`(?m)^---([ \t].*)?$`)

// Documents reads a stream of YAML or JSON documents, each a mapping, without those that
// are empty. Unlike Document it allows any field. The error names the document, from 1.
// It splits the stream itself, since a decoder takes a document of comments for the end.
func Documents(data []byte) ([]map[string]any, error) {
	var out []map[string]any
	for n, document := range separator.Split(string(data)) {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			return nil, fmt.Errorf("document %d: %w", n+1, err)
		}
		if len(o) > 0 {
			out = append(out, o)
		}
	}
	return out, nil
}
