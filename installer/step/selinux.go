package step

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// SELinux gives paths their security type where SELinux is on, in the policy
// when semanage is there, so that a relabel keeps it. It is never switched off.
type SELinux struct {
	Labels []Label `json:"labels"`
}

// Label is the security type of a path.
type Label struct {
	Path string `json:"path"`
	Type string `json:"type"` // "container_runtime_exec_t", "bin_t"
	// Below says that everything below Path has it too.
	Below bool `json:"below,omitempty"`
}

var seTypeRE = regexp.MustCompile(`^[a-z0-9_]+_t$`)

// Kind returns "selinux".
func (s *SELinux) Kind() string { return "selinux" }

// Describe lists the paths.
func (s *SELinux) Describe() string {
	var w []string
	for _, l := range s.Labels {
		w = append(w, l.Path+"="+l.Type)
	}
	return "selinux types " + strings.Join(w, " ")
}

// Validate checks paths and types. A path must have no character that means
// something in the policy's patterns besides the dot.
func (s *SELinux) Validate() error {
	var errs []error
	for _, l := range s.Labels {
		errs = append(errs, checkPath("path", l.Path))
		if strings.ContainsAny(l.Path, `()[]{}*+?|^$\ `) {
			errs = append(errs, fmt.Errorf("path %q: pattern character", l.Path))
		}
		if !seTypeRE.MatchString(l.Type) {
			errs = append(errs, fmt.Errorf("type %q: not an SELinux type", l.Type))
		}
	}
	return errors.Join(errs...)
}
