package agent

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
)

// redactor replaces secrets in text that leaves the host.
type redactor struct{ r *strings.Replacer }

// hidden replaces a secret.
const hidden = "***"

// opaque is what a key or token looks like inside a bigger secret, such as a
// line of PEM or a field of a kubeconfig.
var opaque = regexp.MustCompile(`[A-Za-z0-9+/=_.-]{16,}`)

// newRedactor learns the values of secrets. Certificates are public; of other
// multi-line values each opaque word is hidden, so that a line quoted by a
// program is found too.
func newRedactor(secrets map[string][]byte) redactor {
	var words []string
	for ref, v := range secrets {
		text := strings.TrimSpace(string(v))
		if strings.HasSuffix(ref, ".crt") || len(text) < 6 {
			continue
		}
		words = append(words, text, base64.StdEncoding.EncodeToString(v))
		for _, w := range opaque.FindAllString(text, -1) {
			if strings.ContainsAny(w, "0123456789") {
				words = append(words, w)
			}
		}
	}
	// The longest first: a word may be part of another.
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, w := range slices.Compact(words) {
		pairs = append(pairs, w, hidden)
	}
	return redactor{strings.NewReplacer(pairs...)}
}

// text returns s without secrets.
func (r redactor) text(s string) string {
	if r.r == nil {
		return s
	}
	return r.r.Replace(s)
}

// event returns e without secrets in anything that a program or an error wrote.
func (r redactor) event(e Event) Event {
	e.Reason, e.Text, e.Error = r.text(e.Reason), r.text(e.Text), r.text(e.Error)
	return e
}
