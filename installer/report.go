package installer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// Report is the outcome of a run. It is complete even if the run failed.
type Report struct {
	Cluster string        `json:"cluster"`
	Mode    agent.Mode    `json:"mode"` // apply, check (dry run) or undo
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took"` // nanoseconds
	// Done reports that every stage has ended, perhaps without optional hosts.
	Done   bool          `json:"done"`
	Stages []StageReport `json:"stages"`
	Hosts  []HostReport  `json:"hosts"` // in the order of cluster.yaml

	mu sync.Mutex
}

// StageReport is the outcome of a stage on all its hosts.
type StageReport struct {
	Name   string        `json:"name"`
	Title  string        `json:"title"`
	Took   time.Duration `json:"took"`             // nanoseconds
	Failed []string      `json:"failed,omitempty"` // hosts
}

// HostReport counts a host's steps by their outcome.
type HostReport struct {
	Host     string `json:"host"`
	OK       int    `json:"ok"`
	Changed  int    `json:"changed"`
	Differs  int    `json:"differs"` // dry run: would change
	Verified int    `json:"verified"`
	Skipped  int    `json:"skipped"`
	Failed   int    `json:"failed"`
	NotRun   int    `json:"notRun"`
	// Error is the reason why the host failed, and Stage where; empty if it did not.
	Error string `json:"error,omitempty"`
	Stage string `json:"stage,omitempty"`
	// Steps lists the steps that were not already up to date.
	Steps []StepReport `json:"steps,omitempty"`
	// Stays lists the packages that reset left on purpose.
	Stays []string `json:"stays,omitempty"`
	// Gone lists the packages that apt had removed for others, and that reset does not install.
	Gone []string `json:"gone,omitempty"`

	err error
}

// StepReport is the outcome of a step.
type StepReport struct {
	Stage    string        `json:"stage,omitempty"`
	ID       string        `json:"id"`
	Kind     string        `json:"kind,omitempty"`
	Describe string        `json:"describe,omitempty"`
	State    step.State    `json:"state"` // changed, differs or failed
	Reason   string        `json:"reason,omitempty"`
	Took     time.Duration `json:"took"` // nanoseconds
}

// ErrPartial means that some hosts did not finish; the Report lists them.
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

// step counts the outcome of a step.
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

// fail records the first error of a host.
func (r *Report) fail(hostName, stageName string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.host(hostName); h.err == nil {
		h.err, h.Error, h.Stage = err, err.Error(), stageName
	}
}

// failed returns the hosts that failed, by name.
func (r *Report) failed() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]bool{}
	for _, h := range r.Hosts {
		if h.err != nil {
			out[h.Host] = true
		}
	}
	return out
}

func (r *Report) stays(hostName string, stays, gone []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.host(hostName)
	h.Stays, h.Gone = append(h.Stays, stays...), append(h.Gone, gone...)
}

// Changed returns the number of steps that changed something.
func (r *Report) Changed() int { return r.sum(func(h HostReport) int { return h.Changed }) }

// Pending returns the number of steps that would change something.
func (r *Report) Pending() int { return r.sum(func(h HostReport) int { return h.Differs }) }

func (r *Report) sum(of func(HostReport) int) int {
	n := 0
	for _, h := range r.Hosts {
		n += of(h)
	}
	return n
}

// Unaffected returns the hosts that did not fail.
func (r *Report) Unaffected() []string {
	var out []string
	for _, h := range r.Hosts {
		if h.err == nil {
			out = append(out, h.Host)
		}
	}
	return out
}

// err returns a *PartialError with the errors of all hosts, nil if there is none.
func (r *Report) err() error {
	var errs []*HostError
	for _, h := range r.Hosts {
		if h.err != nil {
			errs = append(errs, &HostError{Host: h.Host, Stage: h.Stage, Err: h.err})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &PartialError{Errs: errs, Unaffected: r.Unaffected()}
}

// PartialError lists the hosts that failed, with the stage of each.
type PartialError struct {
	Errs       []*HostError
	Unaffected []string
}

func (e *PartialError) Error() string {
	lines := make([]string, len(e.Errs))
	for i, h := range e.Errs {
		lines[i] = h.Error()
	}
	s := strings.Join(lines, "\n")
	if len(e.Unaffected) > 0 {
		s += fmt.Sprintf("\nunaffected: %s", strings.Join(e.Unaffected, ", "))
	}
	return s
}

// Unwrap returns ErrPartial and the errors of the hosts.
func (e *PartialError) Unwrap() []error {
	errs := []error{ErrPartial}
	for _, h := range e.Errs {
		errs = append(errs, h)
	}
	return errs
}
