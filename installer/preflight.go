package installer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// Preflight collects the facts of all hosts, asks some about their network, and runs the
// checks of all stages: clocks, hosts, contents of the bundle. It changes nothing. It
// returns in with the facts and the hosts that are away, and all checks. The error joins a
// *PreflightError, if a check failed, and why the hosts that are there are too few.
func (f *Fleet) Preflight(ctx context.Context, in stage.Input) (stage.Input, []stage.Check, error) {
	req := agent.Request{Mode: agent.ModeFacts, Modules: stage.ProxyModules(in)}
	seen, err := f.facts(ctx, req, f.cluster.Hosts)
	if err != nil {
		return in, nil, err
	}
	in.Facts = maps.Clone(in.Facts)
	if in.Facts == nil {
		in.Facts = map[string]facts.Facts{}
	}
	for name, s := range seen {
		in.Facts[name] = s.facts
	}
	if in.Alone.Host == "" {
		// Those that are missing are away, and a check says so.
		leavers := slices.DeleteFunc(stage.Leaving(in), func(h manifests.Host) bool { return in.Forget[h.Name] })
		_ = f.admit(ctx, leavers)
		left, err := f.facts(ctx, req, leavers)
		if err != nil {
			return in, nil, err
		}
		for name, s := range left {
			in.Facts[name] = s.facts
		}
	}
	in.Away = f.away()
	maps.Copy(in.Away, in.Forget)
	if in.Answers, err = f.ask(ctx, agent.ModeProbe, stage.Probes(in)); err != nil {
		return in, nil, err
	}
	if err := f.reach(ctx, in); err != nil {
		return in, nil, err
	}
	checks := append(checkClocks(in, seen, stage.Skew), checksOf(in)...)
	return in, checks, errors.Join(f.enough(in), preflightError(checks))
}

// Judge runs the checks of all stages on in as it is: without facts those that need
// no host. It returns all checks; if one failed, the error is a *PreflightError.
func Judge(in stage.Input) ([]stage.Check, error) {
	checks := checksOf(in)
	return checks, preflightError(checks)
}

func checksOf(in stage.Input) []stage.Check {
	var out []stage.Check
	for _, st := range stage.Install().Stages {
		if st.Checks != nil {
			out = append(out, st.Checks(in)...)
		}
	}
	return out
}

// enough refuses a run if hosts that cannot be reached are needed: the error is why,
// with the errors of all connections.
func (f *Fleet) enough(in stage.Input) error {
	why := stage.Enough(in)
	if why == nil {
		return nil
	}
	errs := []error{why}
	missing := f.Missing()
	for _, name := range names(f.cluster) {
		if err := missing[name]; err != nil {
			errs = append(errs, &HostError{Host: name, Err: err})
		}
	}
	return errors.Join(errs...)
}

// Guard compares the facts of the hosts with the identity of the operator's
// credentials and the versions of the bundle, see agent.Guard. The error lists every
// host, in the order of cluster.yaml. The agents check the same before they change
// anything; Guard refuses before the credentials of a cluster that runs are replaced.
func Guard(in stage.Input, identity string) error {
	components := in.Lock.Components()
	var errs []error
	for _, h := range in.Cluster.Hosts {
		i := in.Facts[h.Name].Installed
		if i == nil || i.Cluster != in.Cluster.Name {
			continue // Preflight refuses a host of another cluster
		}
		if err := agent.Guard(i, identity, components); err != nil {
			errs = append(errs, &HostError{Host: h.Name, Err: err})
		}
	}
	return errors.Join(errs...)
}

// CheckClocks returns a function for RunOptions.After of the time stage. It checks
// the clocks again when chrony runs, before certificates depend on them.
func CheckClocks(f *Fleet, in stage.Input) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		seen, err := f.facts(ctx, agent.Request{Mode: agent.ModeTime}, f.cluster.Hosts)
		if err != nil {
			return err
		}
		return preflightError(checkClocks(in, seen, stage.SkewAfterSync))
	}
}

// hostFacts are the facts of a host and the state of its clock.
type hostFacts struct {
	facts facts.Facts
	// ahead is how far the host's clock is ahead of this machine's, with an error of
	// at most half a round trip.
	ahead time.Duration
}

// facts returns the facts of those of the hosts that are connected, by name; the mode of
// req is agent.ModeFacts or agent.ModeTime.
func (f *Fleet) facts(ctx context.Context, req agent.Request, of []manifests.Host) (map[string]hostFacts, error) {
	var mu sync.Mutex
	out := map[string]hostFacts{}
	away := f.away()
	var hosts []string
	for _, h := range of {
		if !away[h.Name] {
			hosts = append(hosts, h.Name)
		}
	}
	err := f.each(ctx, hosts, func(ctx context.Context, name string) error {
		m, err := f.member(name)
		if err != nil {
			return err
		}
		seen, req := false, req
		req.Host = name
		err = m.call(ctx, req, func(e agent.Event) {
			if e.Type != agent.EventFacts || e.Facts == nil {
				return
			}
			// The answer left the host half a round trip ago.
			ahead := e.Facts.Time.Sub(time.Now().Add(-m.rtt / 2))
			mu.Lock()
			defer mu.Unlock()
			out[name], seen = hostFacts{*e.Facts, ahead}, true
		})
		if err == nil && !seen {
			err = errors.New("agent: no facts in its answer")
		}
		return err
	})
	return out, err
}

// reach makes the hosts dial each other, and adds the answers to those of in.
func (f *Fleet) reach(ctx context.Context, in stage.Input) error {
	sockets := stage.Listeners(in)
	open, err := f.ask(ctx, agent.ModeListen, sockets)
	if err == nil {
		add(in.Answers, open)
		var reached map[string][]probe.Answer
		reached, err = f.ask(ctx, agent.ModeProbe, stage.Dials(in))
		add(in.Answers, reached)
	}
	for name := range sockets {
		sockets[name] = nil // none are to listen any more
	}
	_, cerr := f.ask(ctx, agent.ModeListen, sockets)
	return errors.Join(err, cerr)
}

// add adds more answers to all.
func add(all, more map[string][]probe.Answer) {
	for name, list := range more {
		all[name] = append(all[name], list...)
	}
}

// ask asks the hosts at the same time and returns their answers, for ModeProbe or ModeListen.
func (f *Fleet) ask(ctx context.Context, mode agent.Mode, probes map[string][]probe.Probe) (map[string][]probe.Answer, error) {
	var mu sync.Mutex
	out := map[string][]probe.Answer{}
	err := f.each(ctx, slices.Sorted(maps.Keys(probes)), func(ctx context.Context, name string) error {
		m, err := f.member(name)
		if err != nil {
			return err
		}
		return m.call(ctx, agent.Request{Mode: mode, Host: name, Probes: probes[name]}, func(e agent.Event) {
			mu.Lock()
			defer mu.Unlock()
			out[name] = append(out[name], e.Answers...)
		})
	})
	return out, err
}

// checkClocks checks the clocks of all hosts.
func checkClocks(in stage.Input, seen map[string]hostFacts, check func(stage.Input, string, time.Duration) stage.Check) []stage.Check {
	var out []stage.Check
	for _, h := range in.Cluster.Hosts {
		if s, ok := seen[h.Name]; ok {
			out = append(out, check(in, h.Name, s.ahead))
		}
	}
	return out
}

// PreflightError lists the checks that failed.
type PreflightError struct{ Checks []stage.Check }

func (e *PreflightError) Error() string {
	var b strings.Builder
	noun := "checks"
	if len(e.Checks) == 1 {
		noun = "check"
	}
	fmt.Fprintf(&b, "preflight: %d %s failed", len(e.Checks), noun)
	for _, c := range e.Checks {
		b.WriteString("\n  " + c.String())
	}
	return b.String()
}

func preflightError(checks []stage.Check) error {
	if failed := stage.Failed(checks); len(failed) > 0 {
		return &PreflightError{failed}
	}
	return nil
}
