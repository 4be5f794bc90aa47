package steptest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/offk8s/offk8s/installer/step"
)

// Systemd answers systemctl and systemd-run for a host with services and transient timers.
type Systemd struct {
	// Fail, if set, returns the error of a call before it has an effect.
	Fail func(argv []string) error

	mu      sync.Mutex
	running map[string]bool
	timers  map[string][]string // by name, the seconds and the command
}

// NewSystemd returns a systemd that runs the units.
func NewSystemd(units ...string) *Systemd {
	s := &Systemd{running: map[string]bool{}, timers: map[string][]string{}}
	s.set(true, units)
	return s
}

// Run is for World.Programs.
func (s *Systemd) Run(_ context.Context, c step.Cmd) (step.Output, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Fail != nil {
		if err := s.Fail(c.Argv); err != nil {
			return step.Output{}, err
		}
	}
	operands := c.Argv[slices.Index(c.Argv, "--")+1:]
	switch strings.Join(c.Argv[:min(2, len(c.Argv))], " ") {
	case "systemctl start":
		s.set(true, operands)
		return Say("")
	case "systemctl stop":
		for _, u := range operands {
			if name, ok := strings.CutSuffix(u, ".timer"); ok {
				if s.timers[name] == nil {
					return Exit(c.Argv, 5, "Unit "+u+" not loaded.")
				}
				delete(s.timers, name)
			}
		}
		s.set(false, operands)
		return Say("")
	case "systemctl reset-failed":
		return Exit(c.Argv, 1, "not loaded")
	}
	if c.Argv[0] == "systemd-run" {
		name, after := strings.TrimPrefix(c.Argv[1], "--unit="), strings.TrimPrefix(c.Argv[2], "--on-active=")
		if s.timers[name] != nil {
			return Exit(c.Argv, 1, "Unit "+name+".timer already exists.")
		}
		s.timers[name] = append([]string{after}, c.Argv[3:]...)
		return Say("")
	}
	return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
}

func (s *Systemd) set(runs bool, units []string) {
	for _, u := range units {
		if strings.HasSuffix(u, ".service") {
			s.running[u] = runs
		}
	}
}

// Stopped returns the units that do not run, sorted.
func (s *Systemd) Stopped() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for u, runs := range s.running {
		if !runs {
			out = append(out, u)
		}
	}
	slices.Sort(out)
	return out
}

// Timer returns the seconds and the command of a timer, nil if there is none.
func (s *Systemd) Timer(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timers[name]
}
