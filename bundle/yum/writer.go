package yum

import (
	"encoding/xml"
	"unicode/utf8"
)

// writer writes the few shapes of XML that metadata has; encoding/xml cannot
// write the "rpm:" prefix, and escapes more than createrepo_c does.
type writer struct {
	b     []byte
	depth int
}

// begin begins a document in the memory of the one before.
func (w *writer) begin() { w.b = append(w.b[:0], xml.Header...) }

func (w *writer) start(name string, attributes []string) {
	w.indent()
	w.b = append(append(w.b, '<'), name...)
	for i := 0; i+1 < len(attributes); i += 2 {
		w.b = append(append(append(w.b, ' '), attributes[i]...), `="`...)
		w.escape(attributes[i+1], &attributeEscapes)
		w.b = append(w.b, '"')
	}
}

func (w *writer) indent() {
	for range w.depth {
		w.b = append(w.b, "  "...)
	}
}

func (w *writer) end(name string) {
	w.b = append(append(append(w.b, "</"...), name...), ">\n"...)
}

func (w *writer) open(name string, attributes ...string) {
	w.start(name, attributes)
	w.b = append(w.b, ">\n"...)
	w.depth++
}

func (w *writer) close(name string) {
	w.depth--
	w.indent()
	w.end(name)
}

func (w *writer) empty(name string, attributes ...string) {
	w.start(name, attributes)
	w.b = append(w.b, "/>\n"...)
}

func (w *writer) text(name, value string, attributes ...string) {
	if value == "" {
		w.empty(name, attributes...)
		return
	}
	w.start(name, attributes)
	w.b = append(w.b, '>')
	w.escape(value, &textEscapes)
	w.end(name)
}

// escapes has the text for each byte that cannot stay as it is; "" for the others. The bytes
// of characters that are not ASCII have unknown: escape looks at the character.
type escapes [256]string

const unknown = "\uFFFD" // of characters that XML cannot have

// attributeEscapes makes text safe inside double quotes, textEscapes between tags, where line ends, tabs
// and quotes stay as they are.
var attributeEscapes, textEscapes = escapeTables()

func escapeTables() (attribute, text escapes) {
	for c := range text {
		if c < ' ' || c >= utf8.RuneSelf {
			text[c] = unknown
		}
	}
	text['&'], text['<'], text['>'], text['\r'] = "&amp;", "&lt;", "&gt;", "&#xD;"
	text['\n'], text['\t'] = "", ""
	attribute = text
	attribute['\n'], attribute['\t'], attribute['"'] = "&#xA;", "&#x9;", "&quot;"
	return attribute, text
}

func (w *writer) escape(s string, table *escapes) {
	done := 0 // bytes of s that are written
	for i := 0; i < len(s); {
		to, width := table[s[i]], 1
		if s[i] >= utf8.RuneSelf {
			var r rune
			if r, width = utf8.DecodeRuneInString(s[i:]); inXML(r, width) {
				to = ""
			}
		}
		if to != "" {
			w.b = append(append(w.b, s[done:i]...), to...)
			done = i + width
		}
		i += width
	}
	w.b = append(w.b, s[done:]...)
}

// inXML reports whether XML can have a character beyond ASCII, which is width bytes long.
func inXML(r rune, width int) bool {
	return width > 1 && r != 0xFFFE && r != 0xFFFF
}
