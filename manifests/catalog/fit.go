package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Fit compares what r with a container runtime needs with what hosts of d have. The
// warnings say what must be changed on the hosts; the error means that r cannot run on
// them. What the catalog does not know of d is not judged.
func (r Release) Fit(d Distro, runtime string) (warnings []string, err error) {
	older := func(than string) bool {
		return than != "" && d.Kernel != "" && kernel(d.Kernel).Compare(kernel(than)) < 0
	}
	warning, err := r.fitCgroups(d, runtime)
	if older(r.Kernel) {
		err = errors.Join(fmt.Errorf("kubernetes %s needs kernel %s or newer, %s has %s", r.Minor, r.Kernel, d.Name, d.Kernel), err)
	}
	if err != nil {
		return nil, err
	}
	if older(r.TestedKernel) {
		warnings = append(warnings, fmt.Sprintf("Kubernetes %s is tested with kernel %s and newer, and %s has %s: give the hosts a newer one, or try it",
			r.Minor, r.TestedKernel, d.Name, d.Kernel))
	}
	if warning != "" {
		warnings = append(warnings, warning)
	}
	if d.Notes != "" {
		warnings = append(warnings, "hosts of "+d.Name+": "+strings.TrimSpace(d.Notes))
	}
	return warnings, nil
}

// CgroupV2 reports whether r with a container runtime runs on hosts that have cgroup v2
// alone: docker does since 20.10.
func (r Release) CgroupV2(runtime string) bool {
	docker := r.DockerMajor()
	return r.Features.CgroupV2 && (runtime != "docker" || docker == 0 || docker >= 20)
}

// fitCgroups compares the versions of cgroups.
func (r Release) fitCgroups(d Distro, runtime string) (warning string, err error) {
	what := r.Minor
	if r.Features.CgroupV2 {
		what += " with a docker before 20.10"
	}
	switch {
	case len(d.Cgroups) == 0:
	case !r.CgroupV2(runtime) && d.Cgroups[0] == 2:
		if !slices.Contains(d.Cgroups, 1) {
			return "", fmt.Errorf("kubernetes %s needs cgroup v1, which %s does not have", what, d.Name)
		}
		return fmt.Sprintf("Kubernetes %s needs cgroup v1, and hosts of %s start with v2: boot them with systemd.unified_cgroup_hierarchy=0", what, d.Name), nil
	case r.Features.CgroupV1Refused && d.Cgroups[0] == 1:
		if !slices.Contains(d.Cgroups, 2) {
			return fmt.Sprintf("Kubernetes %s refuses cgroup v1, and hosts of %s have no other: set kubelet.config failCgroupV1: false in cluster.yaml", r.Minor, d.Name), nil
		}
		return fmt.Sprintf("Kubernetes %s refuses cgroup v1, with which hosts of %s start: boot them with systemd.unified_cgroup_hierarchy=1", r.Minor, d.Name), nil
	}
	return "", nil
}

// DistrosFor returns the names of the operating systems that r can run on with its default
// runtime, sorted.
func (c *Catalog) DistrosFor(r Release) []string {
	return slices.DeleteFunc(c.DistroNames(), func(name string) bool {
		_, err := r.Fit(c.distros[name], r.Defaults.Runtime)
		return err != nil
	})
}

// CNIsFor returns the names of the pod networks that have a version for r, sorted.
func (c *Catalog) CNIsFor(r Release) []string {
	return slices.DeleteFunc(c.CNINames(), func(name string) bool {
		_, err := c.cnis[name].For(r.Minor)
		return err != nil
	})
}

// kernel parses "major.minor", which validate has checked.
func kernel(s string) Version {
	v, _ := ParseVersion(s)
	return v
}

func checkKernel(c *strict.Checks, p, s string) {
	if v, err := ParseVersion(s); s != "" && (err != nil || v.Patch >= 0) {
		c.Add(p, "found %q, want major and minor version such as 4.15", s)
	}
}

// spelling takes a name such as "CentOS 7.9", "rocky9" or "ubuntu-22.04" apart.
var spelling = strict.NewPattern(`^([A-Za-z]+)[-_ ]*([0-9.]*)`)

// aliases are os-release IDs by what people write.
var aliases = map[string]string{"redhat": "rhel", "oracle": "ol", "oraclelinux": "ol", "alma": "almalinux"}

// nearDistro returns the part of an error message that names the distributions that
// were probably meant, or "".
func (c *Catalog) nearDistro(name string) string {
	parts := spelling.FindStringSubmatch(name)
	if parts == nil {
		return ""
	}
	id, version := strings.ToLower(parts[1]), parts[2]
	id = cmp.Or(aliases[id], id)
	var same, relatives []string
	known := false // a distribution whose version is not there has no similar name
	for _, near := range c.DistroNames() {
		d := c.distros[near]
		known = known || id == strings.ToLower(d.ID)
		switch {
		case version != "" && !d.hasMajor(version):
		case id == strings.ToLower(d.ID):
			same = append(same, near)
		case slices.Contains(d.Like, id):
			relatives = append(relatives, near)
		}
	}
	switch {
	case len(same) > 0:
		return fmt.Sprintf("; did you mean %s?", strings.Join(same, " or "))
	case len(relatives) > 0:
		return fmt.Sprintf("; %s has packages for its hosts", strings.Join(relatives, " or "))
	}
	if known {
		return ""
	}
	return near(name, c.DistroNames())
}

// near returns the part of an error message that names the most similar of names, or "".
func near(name string, names []string) string {
	if best, ok := strict.Nearest(name, names); ok {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return ""
}
