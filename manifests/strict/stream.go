package strict

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// separator is the line between two documents of a stream.
var separator = NewPattern(`(?m)^---([ \t].*)?$`)

// Documents reads a stream of YAML or JSON documents, each a mapping, without those that
// are empty. Unlike Document it allows any field. The error names the document, from 1.
// It splits the stream itself, since a decoder takes a document of comments for the end.
func Documents(data []byte) ([]map[string]any, error) {
	var out []map[string]any
	for n, document := range separator.Split(string(data)) {
		o, err := mapping(document)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n+1, err)
		}
		if len(o) > 0 {
			out = append(out, o)
		}
	}
	return out, nil
}

func mapping(document string) (o map[string]any, err error) {
	tokens := lexer.Tokenize(document)
	if p, ok := tooDeep(tokens); ok {
		return nil, fmt.Errorf("line %d: nested deeper than %d levels", p.line, maxYAMLDepth)
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Docs {
		if d.Body != nil {
			return o, yaml.NodeToValue(d.Body, &o)
		}
	}
	return nil, nil
}
