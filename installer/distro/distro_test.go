package distro

import (
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/catalog"
)

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
		if apt := d.Manager == step.ManagerApt; apt != (c.Family == "debian") {
			t.Errorf("%s: package manager %s, and the catalog says family %s", d.Name, d.Manager, c.Family)
		}
	}
	for _, n := range cat.DistroNames() {
		if !names[n] {
			t.Errorf("catalog has %q, All has not", n)
		}
	}
}

func TestOptions(t *testing.T) {
	got := debian("debian-12").Chrony.Options([]string{"-F", "1", `-x"$(touch y)`})
	want := `DAEMON_OPTS="-F 1 -x\"\$(touch y)"` + "\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
