// Package secrettest looks for secrets where none may be: outputs, logs, plans,
// argv, files (T-43).
package secrettest

import (
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
)

// None fails the test when any output, by name, holds any secret, by name: as
// it is, as base64, or a line of it that is long enough to be no accident.
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

// forms are the texts that a secret would show up as. Certificates are public.
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
