package agent

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
)

// FuzzParseRequest: a line of any kind is a request that encodes to itself, or an error.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"protocol":"offk8s-agent/2","mode":"apply","items":[{"id":"a","kind":"swap","spec":{}}],"secrets":{"x":"eA=="}}` + "\n"))
	f.Add([]byte(`{"protocol":"offk8s-agent/3","new":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := parseRequest(b)
		if err != nil {
			return
		}
		line, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRequest(line); err != nil {
			t.Errorf("%q: written again: %v", line, err)
		}
		for _, raw := range req.Items {
			_, _ = step.All().Decode(raw)
		}
	})
}

// FuzzJournal: the journal of a host that lost power, or that somebody edited, is read
// or refused.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"op":"owner","owner":{"cluster":"lab","host":"a"}}` + "\n" +
		`{"op":"intent","id":"a","key":"k","item":{"id":"a","kind":"swap","spec":{}},"prior":{}}` + "\n" +
		`{"op":"done","id":"a","key":"k"}` + "\n" + `{"op":"undone","id":"a","key":"k"}` + "\n" + `{"op":`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := &journal{}
		if err := j.read(bytes.NewReader(b)); err != nil {
			return
		}
		if j.size > int64(len(b)) || j.size < int64(len(b)) && bytes.IndexByte(b[j.size:], '\n') >= 0 {
			t.Errorf("read %d bytes of %d", j.size, len(b))
		}
	})
}

// FuzzRedactor: no text is left with the secret, whatever comes before and after it.
func FuzzRedactor(f *testing.F) {
	f.Add("abcdef.0123456789abcdef", "token ", " is bad")
	f.Add("***", "", "")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		secret = string(bytes.TrimSpace([]byte(secret)))
		if len(secret) < 6 || bytes.Contains([]byte(secret), []byte("*")) {
			return
		}
		var r redactor
		r.add(map[string][]byte{"token": []byte(secret)})
		if got := r.text(before + secret + after); bytes.Count([]byte(got), []byte(secret)) > bytes.Count([]byte(before+after), []byte(secret)) {
			t.Errorf("%q is left in %q", secret, got)
		}
	})
}
