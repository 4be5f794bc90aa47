package main

import (
	"reflect"
	"strings"
)

// withLists returns v with an empty list in the place of each nil one that its JSON would
// have as null: readers of a result expect a list. It fills objects behind pointers in
// place, and leaves out those behind interfaces and in maps.
func withLists(v any) any {
	if v == nil {
		return nil
	}
	out := reflect.New(reflect.TypeOf(v)).Elem()
	out.Set(reflect.ValueOf(v))
	fillLists(out, false)
	return out.Interface()
}

// fillLists fills the lists in v. A nil one stays if its field is left out of the JSON.
func fillLists(v reflect.Value, optional bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillLists(v.Elem(), false)
		}
	case reflect.Slice:
		if v.IsNil() && !optional && v.CanSet() && v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fillLists(v.Index(i), false)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			tag := f.Tag.Get("json")
			if f.IsExported() || f.Anonymous {
				fillLists(v.Field(i), strings.Contains(tag, ",omit") || tag == "-")
			}
		}
	}
}
