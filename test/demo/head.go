package main

import (
	"bytes"
	"fmt"
	"io"
)

// head copies the first max lines of an output to w and counts the others.
type head struct {
	w     io.Writer
	max   int
	lines int
	rest  []byte // of a line that has not ended
}

func (h *head) Write(b []byte) (int, error) {
	h.rest = append(h.rest, b...)
	for {
		line, after, ok := bytes.Cut(h.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		if h.lines < h.max {
			fmt.Fprintf(h.w, "%s\n", line)
		} else if h.lines == h.max {
			fmt.Fprintln(h.w, "…")
		}
		h.lines++
		h.rest = after
	}
}

// end prints the number of lines if head did not copy all.
func (h *head) end() {
	if h.lines > h.max {
		fmt.Fprintf(h.w, "(%d lines in all)\n", h.lines)
	}
}
