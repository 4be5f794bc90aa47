package secrettest

import (
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

// recorder is a testing.TB that only counts errors.
type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.errors++ }

func TestNone(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(strings.Repeat("secret bytes ", 20))})
	config := "kind: EncryptionConfiguration\nsecret: " + strings.Repeat("k", 43) + "=\n"
	line := strings.Split(string(key), "\n")[2]
	for _, tt := range []struct {
		name, out string
		found     bool
	}{
		{"clean", "etcd: started", false},
		{"whole", "x" + string(key), true},
		{"one line of PEM", "error near " + line, true},
		{"token", "--token abcdef.0123456789abcdef", true},
		{"certificate", "public thing", false},
		{"key of a file", "secret " + strings.Repeat("k", 43) + "=", true},
		{"rest of that file", "kind: EncryptionConfiguration", false},
	} {
		r := &recorder{TB: t}
		None(r, map[string][]byte{
			"pki:a.key": key, "token:bootstrap": []byte("abcdef.0123456789abcdef\n"), "pki:a.crt": []byte("public thing"),
			"secret:encryption-config": []byte(config),
		}, map[string]string{"stdout": tt.out})
		if (r.errors > 0) != tt.found {
			t.Errorf("%s: %d errors, want found %t", tt.name, r.errors, tt.found)
		}
	}
}

func TestWords(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(strings.Repeat("secret bytes ", 20))})
	words := Words(map[string][]byte{"pki:a.key": key, "token:bootstrap": []byte("abcdef.0123456789abcdef\n"), "pki:a.crt": []byte("public thing")})
	for _, want := range []string{"abcdef.0123456789abcdef", strings.Split(string(key), "\n")[2]} {
		if !slices.Contains(words, want) {
			t.Errorf("no word %q", want)
		}
	}
	for _, w := range words {
		if len(w) < minWord || strings.ContainsAny(w, "\n") {
			t.Errorf("word %q", w)
		}
	}
}
