package secrettest

import (
	"encoding/pem"
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
	} {
		r := &recorder{TB: t}
		None(r, map[string][]byte{
			"pki:a.key": key, "token:bootstrap": []byte("abcdef.0123456789abcdef\n"), "pki:a.crt": []byte("public thing"),
		}, map[string]string{"stdout": tt.out})
		if (r.errors > 0) != tt.found {
			t.Errorf("%s: %d errors, want found %t", tt.name, r.errors, tt.found)
		}
	}
}
