package facts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNameservers(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"empty", "", nil},
		{"an air gap's host", "search lab\noptions ndots:1\n", nil},
		{"stub of systemd-resolved", "nameserver 127.0.0.53\noptions edns0\n", nil},
		{"two and a repeat", "nameserver 10.0.0.53\n  nameserver fd00::53 # second\nnameserver 10.0.0.53\n", []string{"10.0.0.53", "fd00::53"}},
		{"loopback and a real one", "nameserver ::1\nnameserver 10.0.0.53\n", []string{"10.0.0.53"}},
		{"rubbish", "nameserver\nnameserver dns.example\n;nameserver 10.0.0.1\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, nameservers(tt.text)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
