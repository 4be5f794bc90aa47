package fetch

import "testing"

func TestSameSite(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"index.docker.io", "auth.docker.io", true},
		{"quay.io", "quay.io", true},
		{"registry.example.co.uk", "auth.example.co.uk", true},
		{"Registry.Example.com:5000", "auth.example.com", true},
		{"a.co.uk", "b.co.uk", false},
		{"a.info.pl", "b.info.pl", false},
		{"a.azurecr.io", "b.azurecr.io", false},
		{"a.azurecr.io", "a.azurecr.io", true},
		{"1.dkr.ecr.eu-west-1.amazonaws.com", "2.dkr.ecr.eu-west-1.amazonaws.com", false},
		{"a.github.io", "b.github.io", false},
		{"a.jfrog.io", "b.jfrog.io", false},
		{"10.0.0.1", "10.0.0.2", false},
		{"localhost", "127.0.0.1", false},
		{"nexus", "nexus:5000", false},
	} {
		if got := sameSite(tt.a, tt.b); got != tt.want {
			t.Errorf("%s and %s: %v", tt.a, tt.b, got)
		}
	}
}
