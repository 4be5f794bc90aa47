// Package distro knows what differs between operating systems on a host: the
// package manager, where chrony keeps its files, what else keeps time.
//
// A distribution is one file with one value and its line in All. What a bundle
// holds for it (repositories, packages, keys) is data of the catalog under the
// same name. The package does no I/O; it judges facts that others collected.
package distro

import (
	"slices"
	"strings"
)

// Distro is what offk8s knows of one operating system.
type Distro struct {
	Name    string // as in the catalog, "rocky-9"
	ID      string // os-release ID
	Major   string // first part of os-release VERSION_ID
	Manager string // package manager: step.ManagerApt, ManagerDnf or ManagerYum
	Chrony  Chrony
	// RivalClocks are units that must not set the clock beside chrony.
	RivalClocks []string
}

// Chrony is where a distribution keeps chrony.
type Chrony struct {
	Unit       string // "chronyd.service"
	Config     string // "/etc/chrony.conf"
	Drift      string // drift file that the package's user may write
	OptionFile string // environment file of the unit
	OptionName string // variable in it that holds chronyd's arguments
}

// Options is the content of OptionFile for chronyd arguments.
func (c Chrony) Options(args []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`)
	return c.OptionName + `="` + escape.Replace(strings.Join(args, " ")) + "\"\n"
}

// All lists the distributions; a new one is a file and a line here.
func All() []Distro { return []Distro{centos7, rocky9, debian12} }

// Detect returns the distribution of os-release's ID and VERSION_ID.
func Detect(id, version string) (Distro, bool) {
	major, _, _ := strings.Cut(version, ".")
	return find(func(d Distro) bool { return d.ID == id && d.Major == major })
}

// ByName returns the distribution of a catalog name.
func ByName(name string) (Distro, bool) { return find(func(d Distro) bool { return d.Name == name }) }

func find(match func(Distro) bool) (Distro, bool) {
	i := slices.IndexFunc(All(), match)
	if i < 0 {
		return Distro{}, false
	}
	return All()[i], true
}

// redhatChrony is chrony of the Red Hat family.
func redhatChrony() Chrony {
	return Chrony{
		Unit: "chronyd.service", Config: "/etc/chrony.conf", Drift: "/var/lib/chrony/drift",
		OptionFile: "/etc/sysconfig/chronyd", OptionName: "OPTIONS",
	}
}
