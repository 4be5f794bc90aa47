// Package distro holds the differences between operating systems on a host: the package
// manager, the files of chrony, other services that set the clock.
//
// A distribution is one file with one value and its line in All. Its repositories,
// packages and keys are in the catalog under the same name. The package does no I/O.
package distro

import (
	"slices"
	"strings"
)

// Distro describes one operating system.
type Distro struct {
	Name    string // as in the catalog, "rocky-9"
	ID      string // os-release ID
	Major   string // first part of os-release VERSION_ID
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

// All lists the distributions; a new one is a file and a line here.
func All() []Distro { return []Distro{centos7, rocky9, debian12} }

// Detect returns the distribution with ID and VERSION_ID of os-release.
func Detect(id, version string) (Distro, bool) {
	major, _, _ := strings.Cut(version, ".")
	return find(func(d Distro) bool { return d.ID == id && d.Major == major })
}

// ByName returns the distribution with a name of the catalog.
func ByName(name string) (Distro, bool) { return find(func(d Distro) bool { return d.Name == name }) }

func find(match func(Distro) bool) (Distro, bool) {
	i := slices.IndexFunc(All(), match)
	if i < 0 {
		return Distro{}, false
	}
	return All()[i], true
}

// redhatChrony returns the values of the Red Hat family.
func redhatChrony() Chrony {
	return Chrony{
		Unit: "chronyd.service", Config: "/etc/chrony.conf", Drift: "/var/lib/chrony/drift",
		OptionFile: "/etc/sysconfig/chronyd", OptionName: "OPTIONS",
	}
}
