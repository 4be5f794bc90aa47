// Package secrettest searches outputs, logs, plans, arguments and files for secrets,
// which must not leak there.
package secrettest

import (
	"encoding/base64"
	"encoding/pem"
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

// forms returns the texts to search for. Certificates are public.
func forms(ref string, value []byte) []string {
	if strings.HasSuffix(ref, ".crt") || len(value) < 6 {
		return nil
	}
	out := []string{strings.TrimSpace(string(value)), base64.StdEncoding.EncodeToString(value)}
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
