package catalog

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOSRelease(t *testing.T) {
	got := ParseOSRelease([]byte("NAME=\"Rocky Linux\"\nID=rocky\nVERSION_ID='9.4'\nID_LIKE=\"rhel centos fedora\"\nPRETTY_NAME=\"Rocky Linux 9.4\"\n"))
	want := OSRelease{ID: "rocky", Version: "9.4", Like: []string{"rhel", "centos", "fedora"}, Name: "Rocky Linux 9.4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Major() != "9" {
		t.Errorf("major %q", got.Major())
	}
	if got := ParseOSRelease(nil); got.ID != "" || got.Major() != "" {
		t.Errorf("an empty file gives %+v", got)
	}
}
