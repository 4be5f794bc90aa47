package catalog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Fit compares what r needs with what hosts of d have. The warning, if there is
// one, says what must be changed on the hosts; the error means that r cannot run
// on them. What the catalog does not know of d is not judged.
func (r Release) Fit(d Distro) (warning string, err error) {
	if need, have := kernel(r.Kernel), kernel(d.Kernel); r.Kernel != "" && d.Kernel != "" && have.Compare(need) < 0 {
		return "", fmt.Errorf("kubernetes %s needs kernel %s or newer, %s has %s", r.Minor, r.Kernel, d.Name, d.Kernel)
	}
	switch {
	case len(d.Cgroups) == 0:
	case !r.Features.CgroupV2 && d.Cgroups[0] == 2:
		if !slices.Contains(d.Cgroups, 1) {
			return "", fmt.Errorf("kubernetes %s needs cgroup v1, which %s does not have", r.Minor, d.Name)
		}
		return fmt.Sprintf("Kubernetes %s needs cgroup v1, and hosts of %s start with v2: boot them with systemd.unified_cgroup_hierarchy=0", r.Minor, d.Name), nil
	case r.Features.CgroupV1Refused && d.Cgroups[0] == 1:
		if !slices.Contains(d.Cgroups, 2) {
			return fmt.Sprintf("Kubernetes %s refuses cgroup v1, and hosts of %s have no other: set kubelet.config failCgroupV1: false in cluster.yaml", r.Minor, d.Name), nil
		}
		return fmt.Sprintf("Kubernetes %s refuses cgroup v1, with which hosts of %s start: boot them with systemd.unified_cgroup_hierarchy=1", r.Minor, d.Name), nil
	}
	return "", nil
}

// kernel parses "major.minor", which validate has checked.
func kernel(s string) Version {
	v, _ := ParseVersion(s)
	return v
}

func checkKernel(c *strict.Checks, s string) {
	if v, err := ParseVersion(s); s != "" && (err != nil || v.Patch >= 0) {
		c.Add("kernel", "found %q, want major and minor version such as 4.15", s)
	}
}

// spelling takes a name such as "CentOS 7.9", "rocky9" or "almalinux-9" apart.
var spelling = regexp.MustCompile(`^([a-z]+)[-_ ]*([0-9]*)`)

// nearDistro returns the part of an error message that names the distribution that
// was probably meant, or "".
func (c *Catalog) nearDistro(name string) string {
	parts := spelling.FindStringSubmatch(strings.ToLower(name))
	if parts == nil {
		return ""
	}
	id, major := parts[1], parts[2]
	for _, near := range c.DistroNames() {
		switch d := c.distros[near]; {
		case major != "" && major != d.Major:
		case id == d.ID:
			return fmt.Sprintf("; did you mean %s?", near)
		case slices.Contains(d.Like, id):
			return fmt.Sprintf("; the nearest is %s, which is for hosts of %s %s only", near, d.ID, d.Major)
		}
	}
	return ""
}
