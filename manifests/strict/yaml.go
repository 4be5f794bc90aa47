package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a YAML document: far above any real file and far below any that
// would exhaust the machine.
const (
	maxYAMLSize  = 1 << 20
	maxYAMLDepth = 64
	// maxInlineNesting limits "- - - -" and "? ? ?" on one line: nesting that
	// costs two bytes a level, unlike indentation.
	maxInlineNesting = 16
)

// position is a position in a document; line and column start at 1.
type position struct{ line, column int }

// parse returns the tree of data. The YAML library's decoder is not used: it
// stops at the first unknown field, and reads the string 1.20 as 1.2.
func (d *Document) parse(data []byte) (ast.Node, bool) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case len(data) > maxYAMLSize:
		d.add(position{}, "", fmt.Sprintf("%d bytes are more than the %d that are read", len(data), maxYAMLSize), "")
		return nil, false
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")): // not a word of it: it may be a private key
		d.add(position{}, "", "is a key or a certificate, want YAML", "")
		return nil, false
	case !utf8.Valid(data):
		d.add(position{}, "", "not UTF-8 text", "")
		return nil, false
	}
	if i := bytes.IndexFunc(data, forbidden); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		column := utf8.RuneCount(data[bytes.LastIndexByte(data[:i], '\n')+1:i]) + 1
		d.add(position{line, column}, "", fmt.Sprintf("control character %#U", rune(data[i])), "")
		return nil, false
	}
	tokens := lexer.Tokenize(string(data))
	if p, ok := tooDeep(tokens); ok {
		d.add(p, "", fmt.Sprintf("nested deeper than %d levels", maxYAMLDepth), "")
		return nil, false
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil, false
	}
	return d.single(file)
}

// forbidden reports the control characters that YAML does not allow.
func forbidden(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
}

// tooDeep returns the position of nesting that is too deep for the parser, which recurses.
func tooDeep(tokens token.Tokens) (position, bool) {
	flow, line, inline := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			if t.Position.Line != line {
				line, inline = t.Position.Line, 0
			}
			inline++
		}
		if flow > maxYAMLDepth || inline > maxInlineNesting {
			return position{t.Position.Line, t.Position.Column}, true
		}
	}
	return position{}, false
}

func (d *Document) syntax(err error) {
	var ye yaml.Error
	if !errors.As(err, &ye) || ye.GetToken() == nil {
		d.add(position{}, "", "not YAML: "+firstLine(err.Error()), "")
		return
	}
	message, hint := firstLine(ye.GetMessage()), ""
	if strings.Contains(message, "'\t'") {
		message, hint = "a tab", "indent with spaces"
	}
	d.add(tokenPos(ye.GetToken()), "", "not YAML: "+message, hint)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// single returns the body of the only document in file.
func (d *Document) single(file *ast.File) (ast.Node, bool) {
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 1:
		return bodies[0], true
	case 0:
		d.add(position{1, 1}, "", "the document is empty", "")
	default:
		d.add(nodePos(bodies[1]), "", "a second document, want one per file", "")
	}
	return nil, false
}

// nodePos returns the position to report for n.
func nodePos(n ast.Node) position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return nodePos(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return nodePos(n.Key)
	}
	return tokenPos(n.GetToken())
}

func tokenPos(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{t.Position.Line, t.Position.Column}
}

// EncodeYAML returns v as YAML. It converts JSON, so that both formats have the
// same field names.
func EncodeYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(b)
}
