package catalog

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
)

func TestFit(t *testing.T) {
	cat, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	cat.distros["old-1"] = Distro{Name: "old-1", Kernel: "5.4", Cgroups: []int{1}}
	cat.distros["either-1"] = Distro{Name: "either-1", Cgroups: []int{1, 2}}
	cat.distros["new-1"] = Distro{Name: "new-1", Cgroups: []int{2}}
	cat.distros["unknown-1"] = Distro{Name: "unknown-1"}
	for _, tt := range []struct{ minor, distro, warning, err string }{
		{"1.19 docker", "centos-7", "", ""},
		{"1.19 docker", "rocky-9", "1.19 with a docker before 20.10 needs cgroup v1, and hosts of rocky-9 start with v2", ""},
		{"1.20 docker", "debian-13", "", "1.20 with a docker before 20.10 needs cgroup v1, which debian-13 does not have"},
		{"1.21 docker", "debian-13", "", ""},
		{"1.24 docker", "debian-13", "", ""}, // has none; pack says so
		{"1.16 docker", "rocky-9", "Kubernetes 1.16 needs cgroup v1", ""},
		{"1.16", "centos-7", "", ""},
		{"1.16", "rocky-9", "systemd.unified_cgroup_hierarchy=0", ""},
		{"1.16", "debian-12", "systemd.unified_cgroup_hierarchy=0", ""},
		{"1.16", "new-1", "", "needs cgroup v1"},
		{"1.16", "unknown-1", "", ""},
		{"1.36", "centos-7", "", "needs kernel 4.15 or newer, centos-7 has 3.10"},
		{"1.36", "rocky-9", "", ""},
		{"1.36", "debian-12", "", ""},
		{"1.36", "old-1", "failCgroupV1: false", ""},
		{"1.36", "either-1", "systemd.unified_cgroup_hierarchy=1", ""},
		{"1.36", "unknown-1", "", ""},
	} {
		minor, runtime, _ := strings.Cut(tt.minor, " ")
		r, err := cat.Release(minor)
		if err != nil {
			t.Fatal(err)
		}
		d, err := cat.Distro(tt.distro)
		if err != nil {
			t.Fatal(err)
		}
		warnings, err := r.Fit(d, runtime)
		warning := strings.Join(warnings, "\n")
		text := ""
		if err != nil {
			text = err.Error()
		}
		if (warning == "") != (tt.warning == "") || !strings.Contains(warning, tt.warning) || (text == "") != (tt.err == "") || !strings.Contains(text, tt.err) {
			t.Errorf("%s on %s: warning %q, error %q; want %q, %q", tt.minor, tt.distro, warning, text, tt.warning, tt.err)
		}
	}
}

func TestNearMisses(t *testing.T) {
	cat, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"CentOS-7": "did you mean centos-7?", "centos7": "did you mean centos-7?", "centos": "did you mean centos-7?",
		"rocky9": "did you mean rocky-9?", "rocky-9.4": "did you mean rocky-9?", "debian-12.5": "did you mean debian-12?",
		"rhel-9": "; almalinux-9 or rocky-9 has packages for its hosts", "redhat 8.10": "; almalinux-8 or rocky-8 has packages",
		"oracle-7": "; centos-7 has packages", "AlmaLinux 9.3": "did you mean almalinux-9?", "alma10": "did you mean almalinux-10?",
		"Ubuntu 22.04.5": "did you mean ubuntu-22.04?", "ubuntu": "did you mean ubuntu-22.04 or ubuntu-24.04?",
		"openEuler-22.03-LTS-SP4": "did you mean openeuler-22.03?", "rhel-6": "", "ubuntu-20.04": "", "debian-1": "", "9": "",
	} {
		_, err := cat.Distro(name)
		if err == nil || !strings.Contains(err.Error(), want) || (want == "") != strings.HasSuffix(err.Error(), "ubuntu-24.04") {
			t.Errorf("distribution %q: error %v, want %q", name, err, want)
		}
	}
	for version, want := range map[string]string{"1.17.3": "which has 1.17.17", "v1.19.20": "which has 1.19.16", "1.99": "1.34, 1.35, 1.36"} {
		if _, err := cat.Release(version); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("version %q: error %v, want %q", version, err, want)
		}
	}
}

func TestDistroAddresses(t *testing.T) {
	cat, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	rocky, debian := cat.distros["rocky-9"], cat.distros["debian-12"]
	for base, want := range map[string]string{
		"https://x.test/el9/$basearch/":       "want no variable but {arch}",
		"https://x.test/el$releasever/{arch}": "want no variable but {arch}",
		"https://x.test/{basearch}/":          "want no variable but {arch}",
		"https://x.test/{arch}?token=abc":     "want no query",
		"https://x.test/{arch}/#top":          "want no query",
		"https://x.test/el9/{arch}/":          "",
	} {
		rocky.Yum = []YumRepository{{ID: "extra", BaseURL: base, KeyFiles: []string{"rocky-9.asc"}}}
		problems := rocky.validate("rocky-9")
		if (len(problems) == 0) != (want == "") || len(problems) > 0 && !strings.Contains(problems[0].Message, want) {
			t.Errorf("baseURL %q: %v, want %q", base, problems, want)
		}
	}
	for _, flat := range []AptSource{{Archive: "k8s", Suite: "/"}, {Archive: "k8s", Suite: "./"}, {Archive: "k8s", Suite: "stable"}, {Archive: "k8s", Suite: "deb/", Components: []string{"x"}}} {
		debian.Apt = []AptSource{flat}
		if problems := debian.validate("debian-12"); len(problems) == 0 || !strings.Contains(problems[0].Message, "is a flat archive, which offk8s cannot read") {
			t.Errorf("%+v: %v", flat, problems)
		}
	}
}

// The golden file shows, for each distribution, which minors fit and what pack says of
// the others; N stands for the minor.
func TestFits(t *testing.T) {
	cat, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range cat.DistroNames() {
		d, err := cat.Distro(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, name)
		from, last, text := "", "", ""
		flush := func() {
			if from != "" {
				fmt.Fprintf(&b, "  %s to %s: %s\n", from, last, text)
			}
		}
		for _, r := range cat.Versions() {
			warnings, err := r.Fit(d, r.Defaults.Runtime)
			now := strings.Join(warnings, "\n    ")
			if err != nil {
				now = "refused: " + strings.ReplaceAll(err.Error(), "\n", "\n    ")
			}
			now = cmp.Or(strings.ReplaceAll(now, "ubernetes "+r.Minor, "ubernetes N"), "fits")
			if now != text {
				flush()
				from, text = r.Minor, now
			}
			last = r.Minor
		}
		flush()
	}
	golden(t, "fits.txt", []byte(b.String()))
}
