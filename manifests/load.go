package manifests

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Problem is one thing wrong with a document.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`   // from 1; 0 when the document has no place for it
	Column int    `json:"column,omitempty"` // from 1, in characters
	Path   string `json:"path,omitempty"`   // "hosts[1].address"
	// Message says what was found against what was expected, Hint what to do.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String is one line: "cluster.yaml:3:5: hosts[1].address: …".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

// LoadError is every problem of the documents that were loaded, in the order of
// file and line. There is at least one.
type LoadError struct {
	Problems []Problem
}

// Error lists one problem per line.
func (e *LoadError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// LoadManifest reads a pack.yaml; name is what messages call it. Every problem
// of the file is in the error, which is a *LoadError.
func LoadManifest(name string, data []byte) (*Manifest, error) {
	m := &Manifest{}
	d := newDocument(name)
	d.load(data, m, KindManifest, func() []Problem { return m.Validate() })
	if err := d.err(); err != nil {
		return nil, err
	}
	return m, nil
}

// LoadCluster reads a cluster.yaml; name is what messages call it. Every problem
// of the file is in the error, which is a *LoadError. Empty fields stay empty,
// see Cluster.SetDefaults.
func LoadCluster(name string, data []byte) (*Cluster, error) {
	c := &Cluster{}
	d := newDocument(name)
	d.load(data, c, KindCluster, func() []Problem { return c.Validate() })
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// load reads a document of one kind and then checks what it says.
func (d *document) load(data []byte, v any, kind string, validate func() []Problem) {
	root, ok := d.parse(data)
	if !ok {
		return
	}
	d.decodeRoot(root, v)
	d.header(v, kind)
	unread := append([]Problem(nil), d.problems...)
	d.place(slices.DeleteFunc(validate(), func(p Problem) bool { return concerns(p, unread) }))
}

// concerns reports that p is about a value that could not be read, or about one
// that such a value is part of: it would call missing what the user did write.
func concerns(p Problem, unread []Problem) bool {
	for _, u := range unread {
		if strings.HasPrefix(u.Path, p.Path) {
			return true
		}
	}
	return false
}

// header checks apiVersion and kind.
func (d *document) header(v any, kind string) {
	s := reflect.ValueOf(v).Elem()
	for _, f := range []struct{ field, path, want string }{
		{"APIVersion", "apiVersion", APIVersion},
		{"Kind", "kind", kind},
	} {
		got := s.FieldByName(f.field).String()
		if _, there := d.at[f.path]; there && got == f.want {
			continue
		}
		d.place([]Problem{{Path: f.path, Message: fmt.Sprintf("found %q, want %q", got, f.want)}})
	}
}
