package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// OSRelease identifies an operating system as os-release(5) does.
type OSRelease struct {
	ID      string   `json:"id"`
	Version string   `json:"version"` // VERSION_ID
	Like    []string `json:"like,omitempty"`
	Name    string   `json:"name,omitempty"` // PRETTY_NAME
}

// ParseOSRelease reads an os-release file. Fields that it lacks stay empty.
func ParseOSRelease(data []byte) OSRelease {
	var o OSRelease
	for l := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(l), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			o.ID = value
		case "VERSION_ID":
			o.Version = value
		case "ID_LIKE":
			o.Like = strings.Fields(value)
		case "PRETTY_NAME":
			o.Name = value
		}
	}
	return o
}

// String returns the name for people, "Rocky Linux 9.4".
func (o OSRelease) String() string {
	return cmp.Or(o.Name, strings.TrimSpace(o.ID+" "+o.Version), "unknown")
}

// Is reports whether a host with o runs d itself.
func (d Distro) Is(o OSRelease) bool { return o.ID == d.ID && d.hasMajor(o.Version) }

// related reports whether o is of the family whose packages d has, of any version.
func (d Distro) related(o OSRelease) bool {
	return o.ID == d.ID || slices.ContainsFunc(append([]string{o.ID}, o.Like...), func(id string) bool {
		return slices.Contains(d.Like, id)
	})
}

// hasMajor reports whether version ("9.4", "22.04") is one of the major version.
func (d Distro) hasMajor(version string) bool {
	return version == d.Major || strings.HasPrefix(version, d.Major+".")
}

// Match returns the distribution whose packages a host with o uses: the host's own
// or, if there is none, the first of distros that is for relatives of the same major version.
// The error gives the reason if there is neither.
func (o OSRelease) Match(distros []Distro) (Distro, error) {
	if i := slices.IndexFunc(distros, func(d Distro) bool { return d.Is(o) }); i >= 0 {
		return distros[i], nil
	}
	var other []string
	for _, d := range distros {
		switch {
		case !d.related(o):
		case d.hasMajor(o.Version):
			return d, nil
		default:
			other = append(other, fmt.Sprintf("%s is for version %s", d.Name, d.Major))
		}
	}
	if len(other) > 0 {
		return Distro{}, fmt.Errorf("%s has version %q, and %s", o, o.Version, strings.Join(other, ", "))
	}
	return Distro{}, fmt.Errorf("%s is not related to any of them", o)
}
