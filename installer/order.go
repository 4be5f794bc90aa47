package installer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
)

// stage does the work of a stage in its order.
func (r *runner) stage(ctx context.Context, st PlanStage) error {
	start, count := time.Now(), len(st.Hosts)
	if st.AnyOf {
		count = 1
	}
	before := r.report.failed()
	r.progress.StageStart(st.Name, st.Title, count)
	err := r.watched(ctx, st, func(ctx context.Context) error {
		switch {
		case st.AnyOf:
			return r.anyOf(ctx, st)
		case st.AtATime > 0 && !r.o.DryRun:
			return r.rolling(ctx, st)
		}
		return r.together(ctx, st, st.Hosts)
	})
	rep := StageReport{Name: st.Name, Title: st.Title, Took: time.Since(start)}
	for _, h := range r.report.Hosts {
		if h.err != nil && !before[h.Host] {
			rep.Failed = append(rep.Failed, h.Host)
		}
	}
	r.report.Stages = append(r.report.Stages, rep)
	r.progress.StageEnd(rep)
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("stage %q: %w", st.Name, err)
	}
	return err
}

// together does the work on hosts at the same time. An error on one host does not
// stop the others; the error is nil if all that failed are optional.
func (r *runner) together(ctx context.Context, st PlanStage, hosts []PlanHost) error {
	pending := r.differs.Load()
	return r.each(ctx, st, hosts, func(ctx context.Context, m *member, h PlanHost) error {
		return r.work(ctx, m, st, h, r.report.Mode, pending, func(e agent.Event) { r.event(st.Name, h, e) })
	})
}

func (r *runner) each(ctx context.Context, st PlanStage, hosts []PlanHost, work func(context.Context, *member, PlanHost) error) error {
	byName := map[string]PlanHost{}
	var order []string
	for _, h := range hosts {
		byName[h.Host], order = h, append(order, h.Host)
	}
	var stop atomic.Bool
	_ = r.fleet.each(ctx, order, func(ctx context.Context, name string) error {
		m, err := r.fleet.member(name)
		if err == nil {
			err = work(ctx, m, byName[name])
		}
		if err != nil && !errors.Is(err, errLost) {
			r.report.fail(name, st.Name, err)
			if !byName[name].Optional {
				stop.Store(true)
			}
		}
		return err
	})
	if stop.Load() {
		return r.report.err()
	}
	return nil
}

// rollCall notes the hosts that were lost while they had no work, so that the next stage
// neither works on them nor waits for them.
func (r *runner) rollCall(ctx context.Context, next string) {
	failed := r.report.failed()
	hosts := slices.DeleteFunc(names(r.fleet.cluster), func(name string) bool { return failed[name] })
	_ = r.fleet.each(ctx, hosts, func(ctx context.Context, name string) error {
		m, err := r.fleet.member(name)
		if err == nil {
			err = m.answers(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.report.fail(name, next, err)
		}
		return err
	})
}

// errLost is the cause of the end of work that waits for a host that was lost.
var errLost = errors.New("a host that others wait for was lost")

// watched does the work of a stage. If the stage waits for a host that is lost meanwhile, it
// stops the work as the end of a run does; the error is errLost, and the stage can begin
// again without that host. Hosts that change after each other are not stopped: the gate after
// a change has to hold before the next one.
func (r *runner) watched(ctx context.Context, st PlanStage, work func(context.Context) error) error {
	awaited := st.awaited()
	if len(awaited) == 0 || r.o.Replan == nil || r.o.DryRun || st.AtATime > 0 {
		return work(ctx)
	}
	failed := r.report.failed()
	awaited = slices.DeleteFunc(awaited, func(name string) bool { return failed[name] })
	ctx, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		t := time.NewTicker(agent.Beat)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if r.lose(ctx, st, awaited) {
				stop(errLost)
			}
		}
	})
	err := work(ctx)
	stop(nil)
	watching.Wait()
	if err == nil && errors.Is(context.Cause(ctx), errLost) {
		return errLost
	}
	return err
}

// awaited returns the hosts that steps of the stage wait for.
func (st PlanStage) awaited() []string {
	var out []string
	for _, h := range st.Hosts {
		for _, it := range h.Items {
			out = append(out, it.Awaits...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// lose notes which of the hosts were lost in a stage, and reports whether any was.
func (r *runner) lose(ctx context.Context, st PlanStage, hosts []string) bool {
	var lost atomic.Bool
	failed := r.report.failed()
	_ = r.fleet.each(ctx, hosts, func(ctx context.Context, name string) error {
		m, err := r.fleet.member(name)
		if err != nil {
			return err // the plan does without it
		}
		if failed[name] {
			if m.isLost() {
				lost.Store(true)
			}
			return nil
		}
		if err = m.answersIdle(ctx); err != nil && ctx.Err() == nil {
			r.report.fail(name, st.Name, err)
			lost.Store(true)
		}
		return err
	})
	return lost.Load()
}

// rolling changes the hosts of a stage after each other, the first one alone and then
// st.AtATime at a time, each between its gates. It ends at the first failure. Hosts on
// which nothing differs have no turn.
func (r *runner) rolling(ctx context.Context, st PlanStage) error {
	var mu sync.Mutex
	turn := map[string]bool{}
	err := r.each(ctx, st, st.Hosts, func(ctx context.Context, m *member, h PlanHost) error {
		var events []agent.Event
		differs := false
		err := r.work(ctx, m, st, h, agent.ModeCheck, false, func(e agent.Event) {
			events = append(events, e)
			differs = differs || e.Type == agent.EventStep && e.State == step.Differs
		})
		if err == nil && differs {
			mu.Lock()
			defer mu.Unlock()
			turn[h.Host] = true
			return nil
		}
		for _, e := range events {
			r.event(st.Name, h, e)
		}
		return err
	})
	hosts := slices.DeleteFunc(slices.Clone(st.Hosts), func(h PlanHost) bool { return !turn[h.Host] })
	for n := 1; err == nil && len(hosts) > 0; n = st.AtATime {
		batch := hosts[:min(n, len(hosts))]
		hosts = hosts[len(batch):]
		err = r.batch(ctx, st, batch)
	}
	if err != nil { // the others have no turn
		st.Hosts, st.AnyOf = hosts, false
		r.notRun([]PlanStage{st})
	}
	return err
}

// batch changes some hosts at the same time, between their gates.
func (r *runner) batch(ctx context.Context, st PlanStage, hosts []PlanHost) error {
	gates := func(when string, of func(PlanHost) []stage.Gate) error {
		for _, h := range hosts {
			for _, g := range of(h) {
				if err := r.gate(ctx, st, g, r.event); err != nil {
					r.report.fail(h.Host, st.Name, fmt.Errorf("gate %s: %w", when, err))
					return r.report.err()
				}
			}
		}
		return nil
	}
	if err := gates("before the change", func(h PlanHost) []stage.Gate { return h.Before }); err != nil {
		return err
	}
	if err := r.together(ctx, st, hosts); err != nil {
		return err
	}
	return gates("after the change", func(h PlanHost) []stage.Gate { return h.After })
}

// gate makes an observation on the first host that can make it.
func (r *runner) gate(ctx context.Context, st PlanStage, g stage.Gate, on func(stage string, h PlanHost, e agent.Event)) error {
	failed := r.report.failed()
	for _, name := range g.On {
		m, err := r.fleet.member(name)
		if err != nil || failed[name] {
			continue
		}
		h := PlanHost{Host: name, Items: []step.Item{g.Item}}
		return r.work(ctx, m, PlanStage{Name: st.Name}, h, agent.ModeApply, false, func(e agent.Event) { on(st.Name, h, e) })
	}
	return fmt.Errorf("%s: none of %s can be reached to look", g.Item.Step.Describe(), strings.Join(g.On, ", "))
}

// anyOf does the work of a stage on the first host that is there and whose gates hold.
func (r *runner) anyOf(ctx context.Context, st PlanStage) error {
	failed := r.report.failed()
	var first *PlanHost
	var notes []error
	for _, h := range st.Hosts {
		if _, err := r.fleet.member(h.Host); err != nil || failed[h.Host] {
			continue
		}
		if first == nil {
			first = &h
		}
		err := r.leads(ctx, st, h)
		if err == nil {
			return r.together(ctx, st, []PlanHost{h})
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		notes = append(notes, &HostError{Host: h.Host, Err: err})
	}
	r.notRun([]PlanStage{st})
	if first == nil {
		return fmt.Errorf("stage %q: no host is left to do it: %w", st.Name, r.report.err())
	}
	r.report.fail(first.Host, st.Name, fmt.Errorf("no host can do it: %w", errors.Join(notes...)))
	return r.report.err()
}

// leads reports whether the gates of a host hold; a dry run passes none. A gate that
// held is not passed again until something changes.
func (r *runner) leads(ctx context.Context, st PlanStage, h PlanHost) error {
	if r.o.DryRun {
		return nil
	}
	if changed := r.report.Changed(); r.held == nil || r.changed != changed {
		r.changed, r.held = changed, map[string]bool{}
	}
	for _, g := range h.Before {
		key := h.Host + " " + g.Item.ID
		if r.held[key] {
			continue
		}
		var events []agent.Event
		err := r.gate(ctx, st, g, func(_ string, _ PlanHost, e agent.Event) { events = append(events, e) })
		if err != nil {
			return err
		}
		r.held[key] = true
		for _, e := range events {
			r.event(st.Name, PlanHost{Host: h.Host, Items: []step.Item{g.Item}}, e)
		}
	}
	return nil
}
