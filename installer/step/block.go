package step

import (
	"errors"
	"fmt"
)

// Block is a run of lines that offk8s manages in a file that belongs to the
// system, such as /etc/hosts. The rest of the file is left as it is.
type Block struct {
	Path string `json:"path"`
	// Marker names the block in its first and last line; default "offk8s".
	Marker string   `json:"marker,omitempty"`
	Lines  []string `json:"lines"`
	// Comment starts a comment line in the file; default "#".
	Comment string `json:"comment,omitempty"`
}

// Kind returns "block".
func (b *Block) Kind() string { return "block" }

// Describe names file and number of lines.
func (b *Block) Describe() string { return fmt.Sprintf("%d lines in %s", len(b.Lines), b.Path) }

// Validate checks the path and that no line breaks out of the block.
func (b *Block) Validate() error {
	errs := []error{
		checkPath("path", b.Path), checkLine("marker", b.Marker), checkLine("comment", b.Comment),
	}
	for _, l := range b.Lines {
		errs = append(errs, checkLine("line", l))
		if l == b.begin() || l == b.end() {
			errs = append(errs, fmt.Errorf("line %q: is the marker", l))
		}
	}
	return errors.Join(errs...)
}

func (b *Block) begin() string { return b.comment() + " BEGIN " + b.marker() }
func (b *Block) end() string   { return b.comment() + " END " + b.marker() }

func (b *Block) marker() string {
	if b.Marker == "" {
		return "offk8s"
	}
	return b.Marker
}

func (b *Block) comment() string {
	if b.Comment == "" {
		return "#"
	}
	return b.Comment
}
