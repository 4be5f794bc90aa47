// Package strict decodes the documents of offk8s and refuses ambiguous ones: unknown fields, duplicate keys, values of another type, anchors,
// and anything too large or too deep.
//
// A YAML file is read as a Document, which collects every problem with its line
// and column; DecodeJSON reads JSON and stops at the first. Checks and the Is…
// functions hold the grammar of values that several documents share.
package strict
