package phase

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is the outcome of a check.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "pass"
	Warn Verdict = "warn"
	Fail Verdict = "fail"
)

// Check is one thing that was looked at before any host is changed.
type Check struct {
	Name    string  `json:"name"` // as hostPreparation.ignorePreflight names it, "memory"
	Host    string  `json:"host,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Found is what there is, Want what there should be, Hint what to do.
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

// Failed returns the checks that stop an install.
func Failed(checks []Check) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.Verdict != Fail })
}

// checks collects verdicts for one host.
type checks struct {
	host   string
	ignore []string
	list   []Check
}

func (c *checks) add(ok bool, bad Verdict, name, found, want, hint string) {
	v := Pass
	if !ok {
		v = bad
		if v == Fail && slices.Contains(c.ignore, name) {
			v = Warn
		}
	}
	if v == Pass {
		hint = ""
	}
	c.list = append(c.list, Check{Name: name, Host: c.host, Verdict: v, Found: found, Want: want, Hint: hint})
}
