package step

import (
	"fmt"
	"regexp"
)

// Hostname is the host's name, now and after a reboot.
type Hostname struct {
	Name string `json:"name"`
}

var hostnameRE = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// Kind returns "hostname".
func (h *Hostname) Kind() string { return "hostname" }

// Describe tells the name.
func (h *Hostname) Describe() string { return "hostname " + h.Name }

// Validate wants an RFC 1123 name in lower case, as Kubernetes does of node names.
func (h *Hostname) Validate() error {
	if len(h.Name) > 64 || !hostnameRE.MatchString(h.Name) {
		return fmt.Errorf("name %q: want a lower-case RFC 1123 name of at most 64 characters", h.Name)
	}
	return nil
}
