package step

import (
	"errors"
	"fmt"
)

// Route is an entry of the host's routing table as it is now; a unit that
// repeats it at boot is a step of its own.
type Route struct {
	Destination string `json:"destination"` // address or network, "169.254.169.254"
	// Via is the gateway; empty means that the destination is made unreachable.
	Via string `json:"via,omitempty"`
}

// Kind returns "route".
func (r *Route) Kind() string { return "route" }

// Describe tells destination and gateway.
func (r *Route) Describe() string {
	if r.Via == "" {
		return fmt.Sprintf("route %s unreachable", r.Destination)
	}
	return fmt.Sprintf("route %s via %s", r.Destination, r.Via)
}

// Validate checks the addresses.
func (r *Route) Validate() error {
	_, err := parseNet(r.Destination)
	errs := []error{err}
	if r.Via != "" {
		_, err := parseNet(r.Via)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
