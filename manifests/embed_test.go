package manifests

import "testing"

func TestEmbedded(t *testing.T) {
	c, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if got := len(c.Versions()); got != 2 {
		t.Errorf("%d releases", got)
	}
}
