// Package distro holds the differences between operating systems on a host: the package
// manager, the files of chrony, other services that set the clock.
//
// A distribution is one line of All, under its name in the catalog, which has its
// repositories, packages and keys, and the hosts that it is for. The package does no I/O.
package distro

import (
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// Distro describes one operating system.
type Distro struct {
	Name    string // as in the catalog, "rocky-9"
	Manager string // package manager: step.ManagerApt, ManagerDnf or ManagerYum
	Chrony  Chrony
	// RivalClocks are units that must not set the clock beside chrony.
	RivalClocks []string
}

// Chrony describes the chrony package of a distribution.
type Chrony struct {
	Unit       string // "chronyd.service"
	Config     string // "/etc/chrony.conf"
	Drift      string // drift file that the package's user may write
	OptionFile string // environment file of the unit
	OptionName string // variable in it with chronyd's arguments
}

// Options returns the content of OptionFile for chronyd's arguments.
func (c Chrony) Options(args []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`)
	return c.OptionName + `="` + escape.Replace(strings.Join(args, " ")) + "\"\n"
}

// All lists the distributions.
func All() []Distro {
	const timesyncd, ntpd = "systemd-timesyncd.service", "ntpd.service"
	return []Distro{
		redhat("almalinux-8", step.ManagerDnf, timesyncd),
		redhat("almalinux-9", step.ManagerDnf, timesyncd),
		redhat("almalinux-10", step.ManagerDnf, timesyncd),
		redhat("centos-7", step.ManagerYum, ntpd),
		debian("debian-12"),
		debian("debian-13"),
		redhat("openeuler-22.03", step.ManagerDnf, timesyncd, ntpd),
		redhat("openeuler-24.03", step.ManagerDnf, timesyncd, ntpd),
		redhat("rocky-8", step.ManagerDnf, timesyncd),
		redhat("rocky-9", step.ManagerDnf, timesyncd),
		redhat("rocky-10", step.ManagerDnf, timesyncd),
		debian("ubuntu-22.04"),
		debian("ubuntu-24.04"),
	}
}

// ByName returns the distribution with a name of the catalog.
func ByName(name string) (Distro, bool) {
	i := slices.IndexFunc(All(), func(d Distro) bool { return d.Name == name })
	if i < 0 {
		return Distro{}, false
	}
	return All()[i], true
}

// redhat returns a distribution of the Red Hat family.
func redhat(name, manager string, rivals ...string) Distro {
	return Distro{
		Name: name, Manager: manager, RivalClocks: rivals,
		Chrony: Chrony{
			Unit: "chronyd.service", Config: "/etc/chrony.conf", Drift: "/var/lib/chrony/drift",
			OptionFile: "/etc/sysconfig/chronyd", OptionName: "OPTIONS",
		},
	}
}

// debian returns a distribution of the Debian family.
func debian(name string) Distro {
	return Distro{
		Name: name, Manager: step.ManagerApt,
		Chrony: Chrony{
			Unit: "chrony.service", Config: "/etc/chrony/chrony.conf", Drift: "/var/lib/chrony/chrony.drift",
			OptionFile: "/etc/default/chrony", OptionName: "DAEMON_OPTS",
		},
		RivalClocks: []string{"systemd-timesyncd.service", "ntp.service", "ntpsec.service", "openntpd.service"},
	}
}
