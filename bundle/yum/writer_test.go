package yum

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"
)

// FuzzEscape compares the escapes with encoding/xml, which escapes more.
func FuzzEscape(f *testing.F) {
	f.Add("plain")
	f.Add("a <b> & 'c' \"d\"\ttab\nline\r\x00\x7f\x1f")
	f.Add("ümläut 日本 \uFFFD \uFFFE \uFFFF \U0001F600 \xff\xc0\x80 &quot; &#34;")
	attribute := strings.NewReplacer("&#34;", "&quot;", "&#39;", "'")
	text := strings.NewReplacer("&#xA;", "\n", "&#x9;", "\t", "&#34;", `"`, "&#39;", "'")
	f.Fuzz(func(t *testing.T, s string) {
		var theirs bytes.Buffer
		if err := xml.EscapeText(&theirs, []byte(s)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			table *escapes
			want  string
		}{{&attributeEscapes, attribute.Replace(theirs.String())}, {&textEscapes, text.Replace(theirs.String())}} {
			var w writer
			if w.escape(s, c.table); string(w.b) != c.want {
				t.Errorf("%q: %q, want %q", s, w.b, c.want)
			}
		}
	})
}
