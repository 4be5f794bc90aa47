// Package secrettest searches outputs, logs, plans, arguments and files for secrets,
// which must not leak there.
package secrettest

import (
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

// None fails the test if any output, by name, contains any secret, by reference: the
// value, its base64 form, or a long part of it.
func None(t testing.TB, secrets map[string][]byte, outputs map[string]string) {
	t.Helper()
	for ref, value := range secrets {
		for _, form := range forms(ref, value) {
			for name, out := range outputs {
				if strings.Contains(out, form) {
					t.Errorf("%s holds the secret %q: …%.8s…", name, ref, form)
				}
			}
		}
	}
}

// Words returns the forms of secrets that fit into a line, for a search with grep. They are
// too long to be found by chance.
func Words(secrets map[string][]byte) []string {
	var out []string
	for ref, value := range secrets {
		for _, form := range forms(ref, value) {
			if len(form) >= minWord && !strings.ContainsAny(form, "\n") {
				out = append(out, form)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// minWord is the length of the shortest secret in a text, a bootstrap token.
const minWord = 23

// forms returns the texts to search for. Certificates are public.
func forms(ref string, value []byte) []string {
	if strings.HasSuffix(ref, ".crt") || len(value) < 6 {
		return nil
	}
	out := []string{strings.TrimSpace(string(value)), base64.StdEncoding.EncodeToString(value)}
	if b, _ := pem.Decode(value); b == nil { // a file with a key of 32 bytes among other things
		out = append(out, slices.DeleteFunc(strings.Fields(string(value)), func(word string) bool { return len(word) < 32 })...)
	}
	for rest := value; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == "CERTIFICATE" {
			continue
		}
		body := base64.StdEncoding.EncodeToString(b.Bytes)
		for len(body) > 24 {
			n := min(64, len(body))
			out = append(out, body[:n])
			body = body[n:]
		}
	}
	return out
}
