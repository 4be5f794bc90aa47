package step

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Sysctl are kernel settings, now and after a reboot. Undo restores the values
// that were set before.
type Sysctl struct {
	Values map[string]string `json:"values"` // "net.ipv4.ip_forward": "1"
	// File is where they are kept; default /etc/sysctl.d/99-offk8s.conf.
	File string `json:"file,omitempty"`
}

var sysctlRE = regexp.MustCompile(`^[a-z0-9_]+([./][A-Za-z0-9_*-]+)+$`)

// Kind returns "sysctl".
func (s *Sysctl) Kind() string { return "sysctl" }

// Describe lists the settings, sorted.
func (s *Sysctl) Describe() string {
	var w []string
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		w = append(w, k+"="+s.Values[k])
	}
	return "sysctl " + strings.Join(w, " ")
}

// Validate checks names and values.
func (s *Sysctl) Validate() error {
	errs := []error{checkPath("file", s.file())}
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		if !sysctlRE.MatchString(k) || strings.Contains(k, "*") {
			errs = append(errs, fmt.Errorf("setting %q: not a sysctl name", k))
		}
		errs = append(errs, checkLine("value", s.Values[k]))
	}
	return errors.Join(errs...)
}

func (s *Sysctl) file() string {
	if s.File == "" {
		return "/etc/sysctl.d/99-offk8s.conf"
	}
	return s.File
}
