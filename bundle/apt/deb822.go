package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a control file. Debian's longest stanza has 60 KB.
const (
	maxLine   = 1 << 20 // bytes of one line
	maxStanza = 4 << 20 // bytes of one stanza
	maxFields = 200     // of one stanza
)

// stanza is one paragraph of a deb822 file (deb822(5)): fields in their order.
// Names compare without case, values keep their line ends and the indentation
// of continuation lines.
type stanza struct {
	fields []field
}

type field struct{ name, value string }

// get returns the value of a field without surrounding space, or "".
func (s *stanza) get(name string) string {
	for _, f := range s.fields {
		if strings.EqualFold(f.name, name) {
			return strings.TrimSpace(f.value)
		}
	}
	return ""
}

// eachStanza calls use for every stanza of r; the stanza is new each time.
// Fields twice, lines that are neither field nor continuation, and anything
// above the limits are errors. Lines that start with "#" are comments.
func eachStanza(r io.Reader, use func(*stanza) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	p := &stanzaParser{use: use, seen: map[string]bool{}}
	for lines.Scan() {
		p.number++
		if err := p.line(lines.Text()); err != nil {
			return fmt.Errorf("line %d: %w", p.number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", p.number+1, err)
	}
	return p.end()
}

type stanzaParser struct {
	use    func(*stanza) error
	now    stanza
	seen   map[string]bool
	size   int
	number int
}

func (p *stanzaParser) line(line string) error {
	if p.size += len(line); p.size > maxStanza {
		return fmt.Errorf("a stanza of more than %d bytes", maxStanza)
	}
	switch {
	case strings.TrimSpace(line) == "":
		return p.end()
	case line[0] == '#':
		return nil
	case line[0] == ' ' || line[0] == '\t':
		if len(p.now.fields) == 0 {
			return errors.New("continuation line without a field")
		}
		last := &p.now.fields[len(p.now.fields)-1]
		last.value += "\n" + line
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("%.40q is not a field", line)
	}
	key := strings.ToLower(name)
	if p.seen[key] {
		return fmt.Errorf("field %q twice", name)
	}
	if len(p.now.fields) >= maxFields {
		return fmt.Errorf("more than %d fields", maxFields)
	}
	p.seen[key] = true
	p.now.fields = append(p.now.fields, field{name, strings.TrimSpace(value)})
	return nil
}

func (p *stanzaParser) end() error {
	if len(p.now.fields) == 0 {
		p.size = 0
		return nil
	}
	s := p.now
	p.now, p.size = stanza{}, 0
	clear(p.seen)
	return p.use(&s)
}

// oneStanza reads a file that has exactly one stanza.
func oneStanza(r io.Reader) (*stanza, error) {
	var found *stanza
	err := eachStanza(r, func(s *stanza) error {
		if found != nil {
			return errors.New("more than one stanza")
		}
		found = s
		return nil
	})
	if err == nil && found == nil {
		err = errors.New("no stanza")
	}
	return found, err
}
