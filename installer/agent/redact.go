package agent

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
)

// redactor replaces secrets in text that leaves the host.
type redactor struct{ r *strings.Replacer }

// hidden is the replacement of a secret.
const hidden = "***"

// opaque matches keys and tokens inside larger secrets, such as lines of PEM or fields
// of a kubeconfig.
var opaque = regexp.MustCompile(`[A-Za-z0-9+/=_.-]{16,}`)

// newRedactor returns a redactor for the values of secrets. Certificates are public. It
// hides every opaque word of a value too, since programs quote single lines.
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
	// The longest first, since a word may be part of another.
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

// event returns e with the secrets removed from its texts.
func (r redactor) event(e Event) Event {
	e.Reason, e.Text, e.Error = r.text(e.Reason), r.text(e.Text), r.text(e.Error)
	return e
}
