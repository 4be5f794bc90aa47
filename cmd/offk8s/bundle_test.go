package main

import (
	"archive/tar"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writeTar makes a tar with one empty member.
func writeTar(t *testing.T, name, member string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := w.WriteHeader(&tar.Header{Name: member, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFindBundle(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string // tar → its first member
		args    []string
		env     string
		want    []string
		wantErr string
	}{
		{"named", map[string]string{"a.tar": "oci-layout"}, []string{"x.tar"}, "", []string{"x.tar"}, ""},
		{"the name wins over the environment", nil, []string{"x.tar"}, "y.tar", []string{"x.tar"}, ""},
		{"the environment wins over the directory", map[string]string{"a.tar": "oci-layout"}, nil, "y.tar", []string{"y.tar"}, ""},
		{"the only one", map[string]string{"a.tar": "oci-layout", "backup.tar": "etc/passwd"}, nil, "", []string{"a.tar"}, ""},
		{"none", map[string]string{"backup.tar": "etc/passwd"}, nil, "", nil, "none in this directory"},
		{"several", map[string]string{"a.tar": "oci-layout", "b.tar": "oci-layout"}, nil, "", nil, "several bundles in this directory: a.tar, b.tar"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("OFFK8S_BUNDLE", tt.env)
			for name, member := range tt.files {
				writeTar(t, name, member)
			}
			if err := os.WriteFile("broken.tar", []byte("no tar"), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := findBundle(tt.args)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("bundle (-want +got):\n%s", diff)
			}
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if tt.wantErr == "" {
				return
			}
			if code, _ := classify(err); code != exitUsage {
				t.Errorf("exit status %d, want %d", code, exitUsage)
			}
		})
	}
}
