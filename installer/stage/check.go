package stage

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "pass"
	Warn Verdict = "warn"
	Fail Verdict = "fail"
)

// Check is the result of one check that runs before any host is changed.
type Check struct {
	Name    string  `json:"name"` // "memory", as in hostPreparation.ignorePreflight
	Host    string  `json:"host,omitempty"`
	Verdict Verdict `json:"verdict"` // pass, warn or fail
	// Found is the observed value, Want the required one, Hint advises the user.
	Found string `json:"found,omitempty"`
	Want  string `json:"want,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// String is one line: "cp-1: memory: found 512 MiB, want 1700 MiB".
func (c Check) String() string {
	var b strings.Builder
	if c.Host != "" {
		b.WriteString(c.Host + ": ")
	}
	fmt.Fprintf(&b, "%s: found %s", c.Name, c.Found)
	if c.Want != "" {
		b.WriteString(", want " + c.Want)
	}
	if c.Hint != "" {
		b.WriteString(" (" + c.Hint + ")")
	}
	return b.String()
}

// Failed returns the checks that failed, which stop an install.
func Failed(checks []Check) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.Verdict != Fail })
}

// checks collects checks, of one host if host is set.
type checks struct {
	host   string
	ignore []string
	list   []Check
}

// require adds a check that fails unless ok, or warns when the user ignores it.
func (c *checks) require(ok bool, check Check) {
	check.Verdict = Fail
	if slices.Contains(c.ignore, check.Name) {
		check.Verdict = Warn
	}
	c.add(ok, check)
}

// recommend adds a check that warns unless ok.
func (c *checks) recommend(ok bool, check Check) {
	check.Verdict = Warn
	c.add(ok, check)
}

func (c *checks) add(ok bool, check Check) {
	check.Host = c.host
	if ok {
		check.Verdict, check.Hint = Pass, ""
	}
	c.list = append(c.list, check)
}
