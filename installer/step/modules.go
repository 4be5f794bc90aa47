package step

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Modules are kernel modules that are loaded now and after a reboot. What the
// kernel has built in counts as loaded.
type Modules struct {
	Names []string `json:"names"`
	// Optional ones are tried and only noted when the kernel lacks them.
	Optional []string `json:"optional,omitempty"`
	// File lists them for systemd-modules-load; default /etc/modules-load.d/offk8s.conf.
	File string `json:"file,omitempty"`
}

var moduleRE = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Kind returns "modules".
func (m *Modules) Kind() string { return "modules" }

// Describe lists the modules.
func (m *Modules) Describe() string {
	return "kernel modules " + strings.Join(append(append([]string{}, m.Names...), m.Optional...), " ")
}

// Validate checks the names.
func (m *Modules) Validate() error {
	var errs []error
	for _, n := range append(append([]string{}, m.Names...), m.Optional...) {
		if !moduleRE.MatchString(n) || n[0] == '-' {
			errs = append(errs, fmt.Errorf("module %q: not a module name", n))
		}
	}
	return errors.Join(append(errs, checkPath("file", m.file()))...)
}

func (m *Modules) file() string {
	if m.File == "" {
		return "/etc/modules-load.d/offk8s.conf"
	}
	return m.File
}
