package installer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// Report is what a run did, also when it failed.
type Report struct {
	Cluster string        `json:"cluster"`
	Mode    agent.Mode    `json:"mode"` // apply, check (dry run) or undo
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took"` // nanoseconds
	Phases  []PhaseReport `json:"phases"`
	Hosts   []HostReport  `json:"hosts"` // in the order of cluster.yaml

	mu sync.Mutex
}

// PhaseReport is one phase over all its hosts.
type PhaseReport struct {
	Name   string        `json:"name"`
	Title  string        `json:"title"`
	Took   time.Duration `json:"took"`
	Failed []string      `json:"failed,omitempty"` // hosts
}

// HostReport counts a host's steps by what came of them.
type HostReport struct {
	Host     string `json:"host"`
	OK       int    `json:"ok"`
	Changed  int    `json:"changed"`
	Differs  int    `json:"differs"` // dry run: would change
	Verified int    `json:"verified"`
	Skipped  int    `json:"skipped"`
	Failed   int    `json:"failed"`
	NotRun   int    `json:"notRun"`
	// Error is why the host failed; empty: it did not.
	Error string `json:"error,omitempty"`
	// Steps are those that were not simply found to be so.
	Steps []StepReport `json:"steps,omitempty"`
	// Stays is what reset left on purpose, package names.
	Stays []string `json:"stays,omitempty"`

	err error
}

// StepReport is what came of one step.
type StepReport struct {
	Phase    string        `json:"phase,omitempty"`
	ID       string        `json:"id"`
	Describe string        `json:"describe,omitempty"`
	State    step.State    `json:"state"`
	Reason   string        `json:"reason,omitempty"`
	Took     time.Duration `json:"took"`
}

// ErrPartial is a run that some hosts did not finish; the Report tells which.
var ErrPartial = errors.New("not all hosts are done")

func newReport(cluster string, mode agent.Mode, hosts []string) *Report {
	r := &Report{Cluster: cluster, Mode: mode, Started: time.Now().UTC()}
	for _, h := range hosts {
		r.Hosts = append(r.Hosts, HostReport{Host: h})
	}
	return r
}

func (r *Report) host(name string) *HostReport {
	i := slices.IndexFunc(r.Hosts, func(h HostReport) bool { return h.Host == name })
	if i < 0 {
		r.Hosts = append(r.Hosts, HostReport{Host: name})
		i = len(r.Hosts) - 1
	}
	return &r.Hosts[i]
}

// step counts what came of a step.
func (r *Report) step(hostName string, s StepReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.host(hostName)
	switch s.State {
	case step.OK:
		h.OK++
		return
	case step.Verified:
		h.Verified++
		return
	case step.Skipped:
		h.Skipped++
		return
	case step.Changed:
		h.Changed++
	case step.Differs:
		h.Differs++
	case step.Failed:
		h.Failed++
	case agent.NotRun:
		h.NotRun++
	}
	h.Steps = append(h.Steps, s)
}

func (r *Report) fail(hostName string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.host(hostName)
	h.err, h.Error = err, err.Error()
}

func (r *Report) stays(hostName string, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.host(hostName)
	h.Stays = append(h.Stays, names...)
}

// Changed counts the steps that changed something.
func (r *Report) Changed() int { return r.sum(func(h HostReport) int { return h.Changed }) }

// Pending counts the steps that would change something.
func (r *Report) Pending() int { return r.sum(func(h HostReport) int { return h.Differs }) }

func (r *Report) sum(of func(HostReport) int) int {
	n := 0
	for _, h := range r.Hosts {
		n += of(h)
	}
	return n
}

// Unaffected are the hosts that did not fail.
func (r *Report) Unaffected() []string {
	var out []string
	for _, h := range r.Hosts {
		if h.err == nil {
			out = append(out, h.Host)
		}
	}
	return out
}

// errorIn is the hosts' errors as one, nil when there is none. It is ErrPartial
// and what the hosts' errors are.
func (r *Report) errorIn(phaseName string) error {
	var errs []error
	for _, h := range r.Hosts {
		if h.err != nil {
			errs = append(errs, &HostError{h.Host, h.err})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &PartialError{Phase: phaseName, Errs: errs, Unaffected: r.Unaffected()}
}

// PartialError lists what failed where.
type PartialError struct {
	Phase      string
	Errs       []error // *HostError
	Unaffected []string
}

// Error has a line per host.
func (e *PartialError) Error() string {
	lines := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		h := (*HostError)(nil)
		if errors.As(err, &h) {
			lines[i] = fmt.Sprintf("%s: phase %q: %v", h.Host, e.Phase, h.Err)
		}
	}
	s := strings.Join(lines, "\n")
	if len(e.Unaffected) > 0 {
		s += fmt.Sprintf("\nunaffected: %s", strings.Join(e.Unaffected, ", "))
	}
	return s
}

// Unwrap returns ErrPartial and the hosts' errors.
func (e *PartialError) Unwrap() []error { return append([]error{ErrPartial}, e.Errs...) }

// WriteText writes the report for people: what would be changed, what failed,
// what stays, and a line of numbers per host. What was changed a Progress has
// told while it happened, and is in the JSON form.
func (r *Report) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, h := range r.Hosts {
		for _, s := range h.Steps {
			if s.State == agent.NotRun || s.State == step.Changed {
				continue
			}
			what := s.Describe
			if what == "" {
				what = s.ID
			}
			fmt.Fprintf(b, "%s: %s: %s", h.Host, s.State, what)
			if s.Reason != "" {
				fmt.Fprintf(b, " (%s)", s.Reason)
			}
			fmt.Fprintln(b)
		}
		if h.Error != "" {
			fmt.Fprintf(b, "%s: %s\n", h.Host, h.Error)
		}
		if len(h.Stays) > 0 {
			fmt.Fprintf(b, "%s: stay installed: %s\n", h.Host, strings.Join(h.Stays, " "))
		}
	}
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
