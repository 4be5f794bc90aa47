package catalog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOSRelease(t *testing.T) {
	got := ParseOSRelease([]byte("NAME=\"Rocky Linux\"\nID=rocky\nVERSION_ID='9.4'\nID_LIKE=\"rhel centos fedora\"\nPRETTY_NAME=\"Rocky Linux 9.4\"\n"))
	want := OSRelease{ID: "rocky", Version: "9.4", Like: []string{"rhel", "centos", "fedora"}, Name: "Rocky Linux 9.4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := ParseOSRelease(nil); got.ID != "" || got.String() != "unknown" {
		t.Errorf("an empty file gives %+v", got)
	}
}

// hosts are the identifying lines of real os-release files.
var hosts = map[string]string{
	"almalinux 8":      "NAME=\"AlmaLinux\"\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"8.10\"\nPRETTY_NAME=\"AlmaLinux 8.10 (Cerulean Leopard)\"\n",
	"almalinux 9":      "NAME=\"AlmaLinux\"\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n",
	"almalinux 10":     "NAME=\"AlmaLinux\"\nVERSION=\"10.0 (Seafoam)\"\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"10.0\"\nPLATFORM_ID=\"platform:el10\"\n",
	"centos 7":         "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"7\"\n",
	"centos 8":         "NAME=\"CentOS Linux\"\nVERSION=\"8\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"8\"\nPLATFORM_ID=\"platform:el8\"\n",
	"centos stream 10": "NAME=\"CentOS Stream\"\nVERSION=\"10 (Coughlan)\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"10\"\nPRETTY_NAME=\"CentOS Stream 10 (Coughlan)\"\n",
	"debian 12":        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n",
	"debian 13":        "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nID=debian\n",
	"fedora 38":        "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=38\nPRETTY_NAME=\"Fedora Linux 38 (Container Image)\"\n",
	"openeuler 20":     "NAME=\"openEuler\"\nVERSION=\"20.03 (LTS-SP1)\"\nID=\"openEuler\"\nVERSION_ID=\"20.03\"\nPRETTY_NAME=\"openEuler 20.03 (LTS-SP1)\"\n",
	"openeuler 22":     "NAME=\"openEuler\"\nVERSION=\"22.03 LTS\"\nID=\"openEuler\"\nVERSION_ID=\"22.03\"\nPRETTY_NAME=\"openEuler 22.03 LTS\"\n",
	"openeuler 22 sp3": "NAME=\"openEuler\"\nVERSION=\"22.03 (LTS-SP3)\"\nID=\"openEuler\"\nVERSION_ID=\"22.03\"\nPRETTY_NAME=\"openEuler 22.03 (LTS-SP3)\"\n",
	"openeuler 24 sp2": "NAME=\"openEuler\"\nVERSION=\"24.03 (LTS-SP2)\"\nID=\"openEuler\"\nVERSION_ID=\"24.03\"\nPRETTY_NAME=\"openEuler 24.03 (LTS-SP2)\"\n",
	"oracle 9":         "NAME=\"Oracle Linux Server\"\nVERSION=\"9.4\"\nID=\"ol\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.4\"\nPRETTY_NAME=\"Oracle Linux Server 9.4\"\n",
	"rhel 9":           "NAME=\"Red Hat Enterprise Linux\"\nVERSION=\"9.4 (Plow)\"\nID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.4\"\nPRETTY_NAME=\"Red Hat Enterprise Linux 9.4 (Plow)\"\n",
	"rhel 10":          "NAME=\"Red Hat Enterprise Linux\"\nVERSION=\"10.0 (Coughlan)\"\nID=\"rhel\"\nID_LIKE=\"centos fedora\"\nVERSION_ID=\"10.0\"\nPRETTY_NAME=\"Red Hat Enterprise Linux 10.0 (Coughlan)\"\n",
	"rocky 8":          "NAME=\"Rocky Linux\"\nVERSION=\"8.4 (Green Obsidian)\"\nID=\"rocky\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"8.4\"\nPRETTY_NAME=\"Rocky Linux 8.4 (Green Obsidian)\"\n",
	"rocky 10":         "NAME=\"Rocky Linux\"\nVERSION=\"10.1 (Red Quartz)\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"10.1\"\nPRETTY_NAME=\"Rocky Linux 10.1 (Red Quartz)\"\n",
	"ubuntu 22.04":     "PRETTY_NAME=\"Ubuntu 22.04.2 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"22.04\"\nID=ubuntu\nID_LIKE=debian\n",
	"ubuntu 24.04":     "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n",
	"basalt 10":        "NAME=\"BasaltOS\"\nVERSION=\"10\"\nID=\"basalt\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"10\"\nPRETTY_NAME=\"BasaltOS 10\"\n",
}

func TestMatch(t *testing.T) {
	cat, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(cat.DistroNames(), " ")
	for _, tt := range []struct{ host, distros, want, err string }{
		{"almalinux 8", all, "almalinux-8", ""},
		{"almalinux 9", all, "almalinux-9", ""},
		{"almalinux 10", all, "almalinux-10", ""},
		{"centos 7", all, "centos-7", ""},
		{"debian 12", all, "debian-12", ""},
		{"debian 13", all, "debian-13", ""},
		{"openeuler 22", all, "openeuler-22.03", ""},
		{"openeuler 22 sp3", all, "openeuler-22.03", ""},
		{"openeuler 24 sp2", all, "openeuler-24.03", ""},
		{"rocky 8", all, "rocky-8", ""},
		{"rocky 10", all, "rocky-10", ""},
		{"ubuntu 22.04", all, "ubuntu-22.04", ""},
		{"ubuntu 24.04", all, "ubuntu-24.04", ""},
		// Relatives: the first that serves them, in the order of the caller.
		{"rhel 9", "rocky-9", "rocky-9", ""},
		{"rhel 9", "almalinux-9 rocky-9", "almalinux-9", ""},
		{"rhel 9", "rocky-9 almalinux-9", "rocky-9", ""},
		{"rhel 10", "rocky-9 rocky-10", "rocky-10", ""},
		{"oracle 9", "almalinux-9", "almalinux-9", ""},
		{"almalinux 9", "rocky-9", "rocky-9", ""},
		{"rocky 8", "almalinux-8", "almalinux-8", ""},
		{"centos 8", all, "almalinux-8", ""},
		{"centos stream 10", all, "almalinux-10", ""},
		{"basalt 10", "rocky-8 rocky-10", "rocky-10", ""},
		// Exact beats family, also when it comes later.
		{"rocky 8", "almalinux-8 rocky-8", "rocky-8", ""},
		// Not these.
		{"rhel 9", "rocky-8 almalinux-10", "", `Red Hat Enterprise Linux 9.4 (Plow) has version "9.4", and rocky-8 is for version 8, almalinux-10 is for version 10`},
		{"rocky 10", "rocky-9", "", `Rocky Linux 10.1 (Red Quartz) has version "10.1", and rocky-9 is for version 9`},
		{"debian 13", "debian-12", "", `has version "13", and debian-12 is for version 12`},
		{"ubuntu 24.04", "ubuntu-22.04 debian-12", "", "ubuntu-22.04 is for version 22.04"},
		{"openeuler 20", "openeuler-22.03 rocky-9", "", `has version "20.03", and openeuler-22.03 is for version 22.03`},
		{"fedora 38", all, "", "Fedora Linux 38 (Container Image) is not related to any of them"},
		{"ubuntu 22.04", "debian-12 rocky-9", "", "is not related to any of them"},
	} {
		var among []Distro
		for name := range strings.FieldsSeq(tt.distros) {
			d, err := cat.Distro(name)
			if err != nil {
				t.Fatal(err)
			}
			among = append(among, d)
		}
		text := ""
		d, err := ParseOSRelease([]byte(hosts[tt.host])).Match(among)
		if err != nil {
			text = err.Error()
		}
		if d.Name != tt.want || (tt.err == "") != (text == "") || !strings.Contains(text, tt.err) {
			t.Errorf("%s among %s: %q, error %q; want %q, %q", tt.host, tt.distros, d.Name, text, tt.want, tt.err)
		}
	}
}
