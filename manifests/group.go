package manifests

import (
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// GroupFiles is the group of binaries and plain files.
const GroupFiles = "files"

// YumGroup returns the group of a distribution's yum repository,
// "yum/rocky-9/x86_64". arch is in Go's spelling.
func YumGroup(distro, arch string) string { return "yum/" + distro + "/" + RPMArch(arch) }

// AptGroup returns the group of a distribution's apt repository, "apt/debian-12".
func AptGroup(distro string) string { return "apt/" + distro }

// Group is the parsed group of an Artifact.
type Group struct {
	Kind   string // "files", "charts", "yum" or "apt"
	Distro string // of a yum or apt repository
	Arch   string // of a yum repository, in RPM's spelling
}

var groupName = strict.NewPattern(`^(files|charts|yum/[a-z0-9][a-z0-9.-]*/(x86_64|aarch64)|apt/[a-z0-9][a-z0-9.-]*)$`)

// ParseGroup parses "files", "charts", "yum/<distro>/<arch>" or "apt/<distro>"; ok is false
// for anything else.
func ParseGroup(s string) (g Group, ok bool) {
	if !groupName.MatchString(s) {
		return Group{}, false
	}
	kind, rest, _ := strings.Cut(s, "/")
	distro, arch, _ := strings.Cut(rest, "/")
	return Group{Kind: kind, Distro: distro, Arch: arch}, true
}
