package strict

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
)

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
			found = strconv.Quote(s)
		}
	}
	d.add(nodePos(n), path, fmt.Sprintf("want %s, found %s", want, found), "")
}

// scalarText is the text of a scalar as it stands in the document: 1.20 stays
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

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

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
