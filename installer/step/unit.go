package step

import (
	"errors"
	"fmt"
	"strings"
)

// Unit is a systemd unit: its file, whether it starts at boot and whether it runs.
//
// A unit that runs is restarted when its own file or one of Triggers changed
// since offk8s last started it (their digest is stamped on the host), also
// when that change was made by hand.
type Unit struct {
	Name string `json:"name"` // "etcd.service"
	// Content is the unit file in /etc/systemd/system; empty means that the unit
	// comes from a package and only Enable, Running and Stopped are looked at.
	Content string `json:"content,omitempty"`
	Enable  bool   `json:"enable,omitempty"`
	Running bool   `json:"running,omitempty"`
	// Stopped is the opposite of Enable and Running: disabled and not running,
	// Skipped when the host has no such unit.
	Stopped bool `json:"stopped,omitempty"`
	// Triggers are files whose change means a restart: configuration, certificates, the binary.
	Triggers []string `json:"triggers,omitempty"`
	// Reload sends a reload instead of a restart when only Triggers changed.
	Reload bool `json:"reload,omitempty"`
	// NoBlock does not wait until the unit says that it is ready: members of a
	// cluster become ready only together; a Wait step comes later.
	NoBlock bool `json:"noBlock,omitempty"`
}

// Kind returns "unit".
func (u *Unit) Kind() string { return "unit" }

func (u *Unit) Target() Target { return Target{Name: u.Name} }

// Describe names the unit and what is wanted of it.
func (u *Unit) Describe() string {
	var w []string
	for _, x := range []struct {
		on   bool
		word string
	}{{u.Content != "", "written"}, {u.Enable, "enabled"}, {u.Running, "running"}, {u.Stopped, "stopped"}} {
		if x.on {
			w = append(w, x.word)
		}
	}
	return fmt.Sprintf("unit %s %s", u.Name, strings.Join(w, ", "))
}

// Validate checks name, triggers and that the wishes go together.
func (u *Unit) Validate() error {
	var errs []error
	if !unitName(u.Name) {
		errs = append(errs, fmt.Errorf("name %q: want a unit name such as %q", u.Name, "etcd.service"))
	}
	if u.Stopped && (u.Enable || u.Running || u.Content != "") {
		errs = append(errs, errors.New("stopped: excludes enable, running and content"))
	}
	for _, t := range u.Triggers {
		errs = append(errs, checkPath("trigger", t))
	}
	return errors.Join(errs...)
}

// unitName accepts names of systemd.unit(5) that have a type suffix.
func unitName(n string) bool {
	dot := strings.LastIndexByte(n, '.')
	if dot < 1 || dot == len(n)-1 || n[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(n, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune(":-_.\\@", r))
	})
}
