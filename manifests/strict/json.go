package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Limits of a JSON document, which may come from an untrusted bundle or mirror.
const (
	maxJSONSize  = 64 << 20
	maxJSONDepth = 64
	// They bound the memory of the decoded document, which may be a hundred times
	// its size.
	maxJSONElements = 100_000   // of one array
	maxJSONValues   = 2_000_000 // in the document
)

// DecodeJSON decodes one JSON document into v. Unlike encoding/json it refuses
// duplicate keys, unknown fields and names that differ in case, data after the
// document, invalid UTF-8, more than 64 MiB or 64 levels, arrays of more than
// 100,000 elements, and more than 2,000,000 values. If a type implements
// json.Unmarshaler, its fields are not checked.
func DecodeJSON(data []byte, v any) error {
	if len(data) > maxJSONSize {
		return fmt.Errorf("%d bytes of JSON are more than the %d that are read", len(data), maxJSONSize)
	}
	if !utf8.Valid(data) {
		return errors.New("the JSON is not UTF-8 text")
	}
	s := scan{data: data}
	err := s.value(reflect.TypeOf(v), 0)
	if err == nil && s.next() != 0 {
		err = errors.New("more than one JSON document")
	}
	if err != nil {
		return fmt.Errorf("byte %d: %w", s.at, err)
	}
	return json.Unmarshal(data, v) // checks the grammar first
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// scan walks over JSON, which json.Decoder does ten times slower. It finds the end of every
// value and key of correct JSON; of other JSON it does not see every error.
type scan struct {
	data   []byte
	at     int // offset of the next byte
	values int // so far
	// keys are those of the objects around at, the outermost first.
	keys [][]byte
}

// next returns the next byte that is no white space, or 0 at the end.
func (s *scan) next() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take moves past c, which must come next.
func (s *scan) take(c byte) error {
	if have := s.next(); have != c {
		return s.unexpected(have)
	}
	s.at++
	return nil
}

func (s *scan) unexpected(c byte) error {
	if s.at >= len(s.data) {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("invalid character %q", c)
}

// value moves past one value and checks it against t; a nil t accepts any.
func (s *scan) value(t reflect.Type, depth int) error {
	if s.values++; s.values > maxJSONValues {
		return fmt.Errorf("more than %d values", maxJSONValues)
	}
	if depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d levels", maxJSONDepth)
	}
	switch c := s.next(); c {
	case '{':
		return s.object(target(t), depth)
	case '[':
		return s.array(target(t), depth)
	case '"':
		_, err := s.text()
		return err
	default:
		if !strings.ContainsRune("-0123456789tfn", rune(c)) {
			return s.unexpected(c)
		}
		length := bytes.IndexAny(s.data[s.at:], ",]} \t\r\n")
		if length < 0 {
			length = len(s.data) - s.at
		}
		s.at += length
		return nil
	}
}

// list moves past a list between two brackets and calls element at each of its elements.
func (s *scan) list(end byte, element func() error) error {
	s.at++
	if s.next() == end {
		s.at++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.next() == end {
			s.at++
			return nil
		}
		if err := s.take(','); err != nil {
			return err
		}
	}
}

func (s *scan) array(t reflect.Type, depth int) error {
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	n := 0
	return s.list(']', func() error {
		if n++; n > maxJSONElements {
			return fmt.Errorf("array of more than %d elements", maxJSONElements)
		}
		return s.value(elem, depth+1)
	})
}

func (s *scan) object(t reflect.Type, depth int) error {
	var fields map[string]reflect.StructField
	if t != nil && t.Kind() == reflect.Struct {
		fields = taggedFields(t, "json")
	}
	seen := keySet{scan: s, first: len(s.keys)}
	defer func() { s.keys = s.keys[:seen.first] }()
	return s.list('}', func() error {
		key, err := s.key()
		if err != nil {
			return err
		}
		if !seen.add(key) {
			return fmt.Errorf("duplicate key %q", key)
		}
		var elem reflect.Type
		switch f, known := fields[string(key)]; {
		case known:
			elem = f.Type
		case fields != nil:
			return fmt.Errorf("unknown field %q", key)
		case t != nil && t.Kind() == reflect.Map:
			elem = t.Elem()
		}
		return s.value(elem, depth+1)
	})
}

// key moves past a key and its colon.
func (s *scan) key() ([]byte, error) {
	if c := s.next(); c != '"' {
		return nil, s.unexpected(c)
	}
	key, err := s.text()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(key, '\\') >= 0 {
		var plain string
		if err := json.Unmarshal(key, &plain); err != nil {
			return nil, err
		}
		return []byte(plain), s.take(':')
	}
	return key[1 : len(key)-1], s.take(':')
}

// text moves past a string and returns it with its quotes.
func (s *scan) text() ([]byte, error) {
	start := s.at
	for s.at++; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return s.data[start:s.at], nil
		}
	}
	return nil, io.ErrUnexpectedEOF
}

// keySet has the keys of an object: most have few, for which a map takes longer than a look
// at each.
type keySet struct {
	scan  *scan
	first int // of scan.keys
	many  map[string]bool
}

// add adds a key unless the set has it. No object inside this one is open, so the last keys
// of the scan are its own.
func (s *keySet) add(key []byte) bool {
	few := s.scan.keys[s.first:]
	if s.many == nil && len(few) < 16 {
		if slices.ContainsFunc(few, func(k []byte) bool { return bytes.Equal(k, key) }) {
			return false
		}
		s.scan.keys = append(s.scan.keys, key)
		return true
	}
	if s.many == nil {
		s.many = map[string]bool{}
		for _, k := range few {
			s.many[string(k)] = true
		}
	}
	if s.many[string(key)] {
		return false
	}
	s.many[string(key)] = true
	return true
}

// target returns the type that t points to, or nil if it implements json.Unmarshaler.
func target(t reflect.Type) reflect.Type {
	for t != nil {
		if t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler) {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			return t
		}
		t = t.Elem()
	}
	return nil
}

// tagged has the results of taggedFields, which take far longer than a small
// object takes to decode.
var tagged sync.Map // of map[string]reflect.StructField by fieldsKey

type fieldsKey struct {
	t   reflect.Type
	tag string
}

func taggedFields(t reflect.Type, tag string) map[string]reflect.StructField {
	if have, ok := tagged.Load(fieldsKey{t, tag}); ok {
		return have.(map[string]reflect.StructField)
	}
	out := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
		if !f.IsExported() || f.Anonymous && name == "" || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out[name] = f
	}
	tagged.Store(fieldsKey{t, tag}, out)
	return out
}
