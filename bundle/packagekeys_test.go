package bundle

import (
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// The keys of a repository are parsed once, and are not those of another one.
func TestPackageKeyringsAreParsedOnce(t *testing.T) {
	d := catalog.Distro{Name: "rocky-9", Keys: map[string]string{}}
	for _, id := range []string{"base", "extras"} {
		k, err := trust.GenerateKeys(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		d.Keys[id] = string(k.OpenPGPPublic)
		d.Yum = append(d.Yum, catalog.YumRepository{ID: id, KeyFiles: []string{id}})
	}
	keys := packageKeyring(&manifests.Lock{DistroData: map[string]catalog.Distro{"rocky-9": d}})
	var got []*trust.Keyring
	for _, id := range []string{"base", "extras", "base"} {
		a := &manifests.Artifact{Distro: "rocky-9"}
		a.Source.Repository = id
		k, err := keys(a)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, k)
	}
	if got[0] != got[2] || got[0].Fingerprints()[0] == got[1].Fingerprints()[0] {
		t.Errorf("keyrings %v %v %v", got[0].Fingerprints(), got[1].Fingerprints(), got[2].Fingerprints())
	}
}
