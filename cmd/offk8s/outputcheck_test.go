package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/manifests/fields"
)

// check returns the differences between the JSON that a command printed and its section.
// Lines after the first value may follow if more is true.
func (o output) check(printed []byte, more bool) error {
	d := json.NewDecoder(bytes.NewReader(printed))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !more && !errors.Is(err, io.EOF) {
		return errors.New("more than one value of JSON")
	}
	root := fields.Field{Path: "", Type: outputTypes.Name(o.typ()), Fields: o.fields()}
	return errors.Join(compare(root.Type, root.Fields, "", v)...)
}

// compare compares a value at a path with a type in the words of fields.Field.
func compare(name string, below []fields.Field, path string, v any) (problems []error) {
	if elem, ok := strings.CutPrefix(name, "list of "); ok {
		list, ok := v.([]any)
		if !ok {
			return []error{fmt.Errorf("%q: found %v, want a list", path, v)}
		}
		for _, x := range list {
			problems = append(problems, compare(singular(elem), below, path+"[]", x)...)
		}
		return problems
	}
	object, isObject := v.(map[string]any)
	if elem, ok := strings.CutPrefix(name, "map of "); ok {
		if !isObject {
			return []error{fmt.Errorf("%q: found %v, want a map", path, v)}
		}
		for _, x := range object {
			problems = append(problems, compare(singular(elem), below, joined(path, "*"), x)...)
		}
		return problems
	}
	ok := false
	switch name {
	case "any value":
		ok = true
	case "string":
		_, ok = v.(string)
	case "boolean":
		_, ok = v.(bool)
	case "number", "integer":
		var n json.Number
		n, ok = v.(json.Number)
		ok = ok && (name == "number" || !strings.ContainsAny(n.String(), ".eE"))
	case "time":
		s, _ := v.(string)
		_, err := time.Parse(time.RFC3339Nano, s)
		ok = err == nil
	case "object":
		ok = isObject
	}
	if !ok {
		return []error{fmt.Errorf("%q: found %v, want %s", path, v, name)}
	}
	if name != "object" || below == nil { // an object in itself is described once
		return nil
	}
	for _, f := range below {
		key := f.Path[strings.LastIndex(f.Path, ".")+1:]
		x, there := object[key]
		if there {
			problems = append(problems, compare(f.Type, f.Fields, f.Path, x)...)
		} else if f.Required {
			problems = append(problems, fmt.Errorf("%q is not there", f.Path))
		}
		delete(object, key)
	}
	for key := range object {
		problems = append(problems, fmt.Errorf("%q is not in docs/output.md", joined(path, key)))
	}
	return problems
}

func singular(s string) string {
	if first, rest, ok := strings.Cut(s, "s of "); ok {
		return first + " of " + rest
	}
	return strings.TrimSuffix(s, "s")
}

func joined(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// asDocumented is main for scripts and pages. If the command prints JSON, it fails unless
// that is as docs/output.md says, and notes the section in the directory $OUTPUTS_SEEN.
func asDocumented() {
	cmd, format := commandOf(os.Args[1:])
	seen := os.Getenv("OUTPUTS_SEEN")
	if cmd == nil || format != "json" || seen == "" {
		os.Exit(run())
	}
	printed, code, err := teeStdout(run)
	if err == nil && len(bytes.TrimSpace(printed)) > 0 {
		err = documented(cmd, printed, seen)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "docs/output.md: %s: %v\n", cmd.CommandPath(), err)
		code = 99
	}
	os.Exit(code)
}

// teeStdout calls do and returns what it wrote to standard output, with its result.
func teeStdout(do func() int) ([]byte, int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, 0, err
	}
	stdout := os.Stdout
	os.Stdout = w
	var printed bytes.Buffer
	done := make(chan error)
	go func() {
		_, err := io.Copy(io.MultiWriter(stdout, &printed), r)
		done <- err
	}()
	code := do()
	_ = w.Close()
	err = <-done
	return printed.Bytes(), code, err
}

// commandOf returns the command of a command line, nil if there is none, and its format.
func commandOf(args []string) (*cobra.Command, string) {
	a := newApp(strings.NewReader(""), io.Discard, io.Discard)
	cmd, rest, err := a.command().Find(args)
	if err != nil || cmd.ParseFlags(rest) != nil {
		return nil, ""
	}
	if f := cmd.Flags().Lookup("format"); f != nil && !f.Changed && os.Getenv("OFFK8S_FORMAT") != "" {
		return cmd, os.Getenv("OFFK8S_FORMAT")
	}
	return cmd, a.format
}

// documented returns an error unless the page has a section for the output of cmd, as
// printed.
func documented(cmd *cobra.Command, printed []byte, seen string) error {
	path := strings.TrimPrefix(cmd.CommandPath(), "offk8s ")
	for _, d := range documentOutputs {
		if d.command == path {
			return nil
		}
	}
	if f := cmd.Flags().Lookup("output"); path == "lock" && f.Value.String() == "-" {
		return nil
	}
	var errs []error
	flag := ""
	for _, o := range outputs {
		f := cmd.Flags().Lookup(o.flag)
		if o.command == path && (f != nil && f.Changed || o.isArgument() && cmd.Flags().NArg() > 0) {
			flag = o.flag
		}
	}
	for _, o := range outputs {
		if o.command != path || o.flag != flag {
			continue
		}
		err := o.check(printed, path == "serve")
		if err == nil {
			return os.WriteFile(filepath.Join(seen, strings.ReplaceAll(o.name(), " ", "_")), nil, 0o644)
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return errors.New("has no section")
	}
	return errors.Join(errs...)
}
