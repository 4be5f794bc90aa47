package strict

import (
	"errors"
	"io"
	"testing"
)

func TestWrites(t *testing.T) {
	lines := func(all ...string) func(io.Writer) error {
		return func(w io.Writer) error {
			for _, s := range all {
				if _, err := io.WriteString(w, s); err != nil {
					return err
				}
			}
			return nil
		}
	}
	tests := []struct {
		name   string
		encode func(io.Writer) error
		want   bool
	}{
		{"at once", lines("abc"), true},
		{"in pieces", lines("a", "", "bc"), true},
		{"less", lines("a", "b"), false},
		{"more", lines("abc", "d"), false},
		{"other bytes", lines("abd"), false},
		{"nothing", lines(), false},
		{"failed at the end", func(w io.Writer) error { return errors.Join(lines("abc")(w), io.ErrShortWrite) }, false},
		{"an error of the writer ignored", func(w io.Writer) error { _, _ = w.Write([]byte("x")); return lines("abc")(w) }, false},
	}
	for _, tt := range tests {
		if got := Writes([]byte("abc"), tt.encode); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
