package distro

import (
	"testing"

	"github.com/offk8s/offk8s/manifests/catalog"
)

func TestDetect(t *testing.T) {
	tests := []struct{ id, version, want string }{
		{"centos", "7", "centos-7"},
		{"rocky", "9.4", "rocky-9"},
		{"debian", "12", "debian-12"},
		{"debian", "13", ""},
		{"rocky", "90", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		d, ok := Detect(tt.id, tt.version)
		if d.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("Detect(%q, %q) = %q, %t; want %q", tt.id, tt.version, d.Name, ok, tt.want)
		}
	}
}

// A distribution of the catalog that no code knows could be packed and not installed.
func TestCatalogIsKnown(t *testing.T) {
	cat, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, d := range All() {
		names[d.Name] = true
		c, err := cat.Distro(d.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if c.ID != d.ID || c.Major != d.Major {
			t.Errorf("%s: catalog says %s %s, code %s %s", d.Name, c.ID, c.Major, d.ID, d.Major)
		}
	}
	for _, n := range cat.DistroNames() {
		if !names[n] {
			t.Errorf("catalog has %q, All has not", n)
		}
	}
}

func TestOptions(t *testing.T) {
	got := debian12.Chrony.Options([]string{"-F", "1", `-x"$(touch y)`})
	want := `DAEMON_OPTS="-F 1 -x\"\$(touch y)"` + "\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
