package installer

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// WriteText writes the report for people: pending changes, failures that the error of
// the host does not have, and packages that stay or are gone. It leaves out the changes made, which
// a Progress has shown, and the errors of hosts, which are in the error of the run; the
// JSON form has both.
func (r *Report) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	var all []string
	for _, h := range r.Hosts {
		all = append(all, h.Host)
	}
	pending, failed, stays := newGrouped(all), newGrouped(all), newGrouped(all)
	for _, h := range r.Hosts {
		for _, s := range h.Steps {
			switch text := cmp.Or(s.Describe, s.ID) + inBrackets(s.Reason); {
			case s.State == step.Differs:
				pending.add(h.Host, "would change: "+text)
			case s.State == step.Failed && !strings.Contains(h.Error, s.Reason): // by reset, which goes on
				failed.add(h.Host, "failed: "+text)
			}
		}
		if len(h.Stays) > 0 {
			stays.add(h.Host, "stay installed: "+strings.Join(h.Stays, " "))
		}
		if len(h.Gone) > 0 {
			stays.add(h.Host, "were removed for them by apt, install them again if you want them: "+strings.Join(h.Gone, " "))
		}
	}
	pending.write(b, "")
	failed.write(b, "")
	stays.write(b, "")
	return b.Flush()
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// WriteCounts writes a line of numbers per host.
func (r *Report) WriteCounts(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, h := range r.Hosts {
		fmt.Fprintf(b, "%s: ok %d, ", h.Host, h.OK)
		if r.Mode == agent.ModeCheck {
			fmt.Fprintf(b, "would change %d", h.Differs)
		} else {
			fmt.Fprintf(b, "changed %d", h.Changed)
		}
		fmt.Fprintf(b, ", verified %d, skipped %d, failed %d, not run %d\n", h.Verified, h.Skipped, h.Failed, h.NotRun)
	}
	return b.Flush()
}
