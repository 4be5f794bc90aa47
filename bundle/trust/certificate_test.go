package trust

import (
	"encoding/pem"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestFingerprint(t *testing.T) {
	block := func(kind, content string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(content)})
	}
	two := append(block("CERTIFICATE", "first"), block("CERTIFICATE", "second")...)
	if got, err := Fingerprint(two); err != nil || got != digest.FromString("first").String() {
		t.Errorf("got %q, %v", got, err)
	}
	for name, b := range map[string][]byte{"key": block("EC PRIVATE KEY", "x"), "no PEM": []byte("x"), "empty": nil} {
		if got, err := Fingerprint(b); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
