package manifests

import "strings"

// machines maps architectures in Go's spelling to that of Linux and RPM.
var machines = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// Machine returns what uname -m prints on an architecture in Go's spelling, or
// arch itself if it is unknown.
func Machine(arch string) string {
	if m, ok := machines[arch]; ok {
		return m
	}
	return arch
}

// MachineArch returns Go's spelling of what uname -m prints. Both spellings are
// accepted; ok is false for an architecture that offk8s does not run on.
func MachineArch(machine string) (arch string, ok bool) {
	for arch, m := range machines {
		if machine == m || machine == arch {
			return arch, true
		}
	}
	return "", false
}

// RPMArch returns RPM's name of an architecture in Go's spelling, which is that
// of uname -m.
func RPMArch(arch string) string { return Machine(arch) }

// Platform returns the OCI platform of an architecture in Go's spelling, such as "linux/amd64".
func Platform(arch string) string { return "linux/" + arch }

// Arch returns the architecture of a's platform in Go's spelling, or "" if a
// serves all platforms.
func (a *Artifact) Arch() string { return strings.TrimPrefix(a.Platform, "linux/") }
