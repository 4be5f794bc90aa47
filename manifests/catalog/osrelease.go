package catalog

import "strings"

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

// Major returns the part of Version before the first dot.
func (o OSRelease) Major() string {
	major, _, _ := strings.Cut(o.Version, ".")
	return major
}
