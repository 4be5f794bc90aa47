package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
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
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	values := 0
	if err := checkValue(dec, &values, reflect.TypeOf(v), 0); err != nil {
		return fmt.Errorf("byte %d: %w", dec.InputOffset(), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("byte %d: more than one JSON document", dec.InputOffset())
	}
	return json.Unmarshal(data, v)
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// checkValue reads one value, which it adds to values, and checks it against t; a
// nil t accepts any.
func checkValue(dec *json.Decoder, values *int, t reflect.Type, depth int) error {
	if *values++; *values > maxJSONValues {
		return fmt.Errorf("more than %d values", maxJSONValues)
	}
	if depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d levels", maxJSONDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return cut(err)
	}
	open, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	t = target(t)
	if open == '[' {
		var elem reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			elem = t.Elem()
		}
		for n := 0; dec.More(); n++ {
			if n == maxJSONElements {
				return fmt.Errorf("array of more than %d elements", maxJSONElements)
			}
			if err := checkValue(dec, values, elem, depth+1); err != nil {
				return err
			}
		}
	} else if err := checkObject(dec, values, t, depth); err != nil {
		return err
	}
	_, err = dec.Token()
	return cut(err)
}

func checkObject(dec *json.Decoder, values *int, t reflect.Type, depth int) error {
	var fields map[string]reflect.StructField
	if t != nil && t.Kind() == reflect.Struct {
		fields = taggedFields(t, "json")
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return cut(err)
		}
		key, ok := tok.(string)
		if !ok {
			return fmt.Errorf("found %v, want a key", tok)
		}
		if seen[key] {
			return fmt.Errorf("duplicate key %q", key)
		}
		seen[key] = true
		var elem reflect.Type
		switch f, known := fields[key]; {
		case known:
			elem = f.Type
		case fields != nil:
			return fmt.Errorf("unknown field %q", key)
		case t != nil && t.Kind() == reflect.Map:
			elem = t.Elem()
		}
		if err := checkValue(dec, values, elem, depth+1); err != nil {
			return err
		}
	}
	return nil
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

// cut returns io.ErrUnexpectedEOF for io.EOF: the document ends too early.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
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
