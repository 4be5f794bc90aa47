package manifests

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// alwaysWritten adds the JSON fields below t that are written even if they are empty.
func alwaysWritten(t reflect.Type, path string, out map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
		alwaysWritten(t.Elem(), path, out)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "-" {
				continue
			}
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				out[path+"."+name] = true
			}
			alwaysWritten(f.Type, path+"."+name, out)
		}
	}
}

// A Lock is compared with its canonical form, so that a field which newer versions
// always write would make every older bundle unreadable. New fields have omitempty; a
// field of this list must not go away either.
func TestOlderLocksStayReadable(t *testing.T) {
	fields := map[string]bool{}
	alwaysWritten(reflect.TypeFor[Lock](), "lock", fields)
	var got []string
	for f := range fields {
		got = append(got, f)
	}
	slices.Sort(got)
	file := filepath.Join("testdata", "lock-fields.txt")
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(got, "\n") + "\n"; text != string(want) {
		t.Errorf("fields of a Lock that are always written, want those in %s:\n%s", file, text)
	}
}
