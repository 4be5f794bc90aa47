package installer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/phase"
)

// Sighting is what a host's agent found and how its clock stands.
type Sighting struct {
	Facts facts.Facts
	// Ahead is how far the host's clock is ahead of this machine's, as well as
	// half a round trip can tell.
	Ahead time.Duration
}

// Sight asks every host for its facts.
func (f *Fleet) Sight(ctx context.Context) (map[string]Sighting, error) {
	var mu sync.Mutex
	out := map[string]Sighting{}
	err := f.each(ctx, names(f.cluster), func(ctx context.Context, name string) error {
		m, err := f.member(name)
		if err != nil {
			return err
		}
		seen := false
		err = m.call(ctx, agent.Request{Mode: agent.ModeFacts, Host: name}, func(e agent.Event) {
			if e.Type != agent.EventFacts || e.Facts == nil {
				return
			}
			// The answer left the host half a trip before now.
			ahead := e.Facts.Time.Sub(time.Now().Add(-m.trip / 2))
			mu.Lock()
			defer mu.Unlock()
			out[name], seen = Sighting{*e.Facts, ahead}, true
		})
		if err == nil && !seen {
			err = errors.New("agent: no facts in its answer")
		}
		return err
	})
	return out, err
}

// Look completes in by the hosts' facts and asks the gates of all phases:
// clocks, preflight, completeness. Nothing is changed. When a check fails, the
// error is a *PreflightError; the checks are returned all the same, for display.
func (f *Fleet) Look(ctx context.Context, in phase.Input) (phase.Input, []phase.Check, error) {
	seen, err := f.Sight(ctx)
	if err != nil {
		return in, nil, err
	}
	in.Facts = maps.Clone(in.Facts)
	if in.Facts == nil {
		in.Facts = map[string]facts.Facts{}
	}
	checks := skew(in, seen, false)
	for name, s := range seen {
		in.Facts[name] = s.Facts
	}
	for _, p := range phase.All() {
		if p.Gate != nil {
			checks = append(checks, p.Gate(in)...)
		}
	}
	return in, checks, preflight(checks)
}

// skew judges the clocks of all hosts.
func skew(in phase.Input, seen map[string]Sighting, synchronized bool) []phase.Check {
	var out []phase.Check
	for _, h := range in.Cluster.Hosts {
		if s, ok := seen[h.Name]; ok {
			out = append(out, phase.Skew(in, h.Name, s.Ahead, synchronized))
		}
	}
	return out
}

// SkewGate returns what RunOptions.After takes for the time phase: once chrony
// runs, the clocks are looked at again, before certificates depend on them.
func SkewGate(f *Fleet, in phase.Input) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		seen, err := f.Sight(ctx)
		if err != nil {
			return err
		}
		return preflight(skew(in, seen, true))
	}
}

// PreflightError lists the checks that failed.
type PreflightError struct{ Checks []phase.Check }

// Error has a line per check.
func (e *PreflightError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "preflight: %d checks failed", len(e.Checks))
	for _, c := range e.Checks {
		b.WriteString("\n  " + c.String())
	}
	return b.String()
}

func preflight(checks []phase.Check) error {
	if bad := phase.Failed(checks); len(bad) > 0 {
		return &PreflightError{bad}
	}
	return nil
}
