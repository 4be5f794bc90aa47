package bundle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// vendorKeys are the fingerprints that the vendors publish, by file of the catalog.
const vendorKeys = `
almalinux-10.asc EE6DB7B98F5BF5EDD9DA0DE5DEE5C11CC2A1E572
almalinux-8.asc 5E9B8F5617B5066CE92057C3488FCF7C3ABB34F8 BC5EDDCADF502C077F1582882AE81E8ACED7258B
almalinux-9.asc BF18AC2876178908D6E71267D36CB86CB86B3716
centos-7.asc 6341AB2753D78A78A7C27BB124C6A8A7F4A80EB5
debian-12-archive.asc B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8
debian-12-security.asc 05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0
debian-13-archive.asc 04B54C3CDCA79751B16BC6B5225629DF75B188BD
debian-13-security.asc 5E04A1E3223A19A20706E20F9904613D4CCE68C6
openeuler-eulermaker.asc 8AA16BF9F2CA5244010DCA963B477C60B675600B
openeuler.asc 12EA74AC9DF48D46C69CA0BED557065EB25E7F66
rocky-10.asc FC226859C0860BF0DDB95B085B106C736FEDFC85
rocky-8.asc 7051C470A929F454CEBE37B715AF5DAC6D745A60
rocky-9.asc 21CB256AE16FC54C6E652949702D426D350D275D
ubuntu-archive.asc 790BC7277767219C42C86F933B4FE6ACC0B21F32 F6ECB3762474EDA9D21B7022871920D1991BC93C
`

func TestVendorKeys(t *testing.T) {
	cat, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range cat.DistroNames() {
		d, err := cat.Distro(name)
		if err != nil {
			t.Fatal(err)
		}
		for file, key := range d.Keys {
			ring, err := trust.ReadKeyring([]byte(key))
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			got = append(got, file+" "+strings.Join(ring.Fingerprints(), " "))
		}
	}
	slices.Sort(got)
	want := strings.Split(strings.TrimSpace(vendorKeys), "\n")
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
