package strict

import (
	"bytes"
	"errors"
	"io"
)

// Writes reports whether encode writes want and nothing else. It tells whether a document
// is in its canonical form, and keeps no second copy of it.
func Writes(want []byte, encode func(io.Writer) error) bool {
	m := match{rest: want}
	return encode(&m) == nil && len(m.rest) == 0 && !m.other
}

// match is a writer that fails unless rest begins with all that is written.
type match struct {
	rest  []byte
	other bool // it failed
}

func (m *match) Write(p []byte) (int, error) {
	rest, ok := bytes.CutPrefix(m.rest, p)
	if !ok {
		m.other = true
		return 0, errors.New("other bytes")
	}
	m.rest = rest
	return len(p), nil
}
