package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is an error at one place in a document.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`   // from 1; 0 if there is no position
	Column int    `json:"column,omitempty"` // from 1, in characters
	Path   string `json:"path,omitempty"`   // "hosts[1].address"
	// Message states what was found and expected, Hint the remedy.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String formats p as one line: "cluster.yaml:3:5: hosts[1].address: …".
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

// Error holds the problems of the loaded documents, at least one, sorted by file
// and line.
type Error struct {
	Problems []Problem
	// Kind is the kind of the document if it is of another one than expected.
	Kind string
}

// Error lists one problem per line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// NewError returns an Error with problems, which it sorts.
func NewError(problems []Problem) *Error {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column,
			strings.Compare(a.Path, b.Path), strings.Compare(a.Message, b.Message))
	})
	return &Error{Problems: problems}
}
