package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// newRunProgress returns the display of a run that --progress chooses, and a function
// that ends it.
func (a *app) newRunProgress() (installer.Progress, func()) {
	switch a.progressMode() {
	case "tty":
		v := newRunView(a.stderr, a.verbose)
		return v, v.pause
	case "json":
		return &runJSON{w: a.stderr}, func() {}
	case "plain":
		p := &runLines{write: func(line string) { fmt.Fprintln(a.stderr, line) }, verbose: a.verbose, act: activity{now: time.Now}}
		return p, every(time.Second, p.tick)
	default:
		return progresses{}, func() {}
	}
}

// every calls fn at an interval until the returned function is called.
func every(interval time.Duration, fn func()) (stop func()) {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				fn()
			case <-ctx.Done():
				return
			}
		}
	}()
	return stop
}

// progresses passes every event to all its elements.
type progresses []installer.Progress

func (all progresses) StageStart(name, title string, hosts int) {
	for _, p := range all {
		p.StageStart(name, title, hosts)
	}
}

func (all progresses) Event(stage, host string, e agent.Event) {
	for _, p := range all {
		p.Event(stage, host, e)
	}
}

func (all progresses) StageEnd(r installer.StageReport) {
	for _, p := range all {
		p.StageEnd(r)
	}
}

// runLines writes a line per stage, change and failure, and every 15 seconds while a
// step runs; with -v, a line per step. The reason of a failure is in the error at the end.
type runLines struct {
	mu      sync.Mutex
	write   func(line string)
	verbose int
	act     activity
}

func (p *runLines) printf(format string, args ...any) { p.write(fmt.Sprintf(format, args...)) }

func (p *runLines) StageStart(name, title string, hosts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.act.start(name, title, hosts)
	p.printf("%s  %-12s %s (%s)", p.act.began.Format(time.TimeOnly), name, title, count(hosts, "host"))
}

func (p *runLines) Event(_, host string, e agent.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.act.event(host, e)
	if line := eventLine(host, e, p.verbose, true); line != "" {
		p.write(line)
	}
}

// tick writes a line for each step that has run for a while.
func (p *runLines) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.act.overdue() {
		p.printf("          %s: %s: %s%s", s.host, s.id, seconds(p.act.now().Sub(s.began)), reason(oneLine(s.note, 0)))
	}
}

func (p *runLines) StageEnd(r installer.StageReport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.act.running)
	if len(r.Failed) > 0 {
		p.printf("%s", stageLine(p.act.now(), r))
	}
}

// stageLine describes a stage that has ended.
func stageLine(now time.Time, r installer.StageReport) string {
	if len(r.Failed) > 0 {
		return fmt.Sprintf("%s  %-12s failed on %v after %s", now.Format(time.TimeOnly), r.Name, r.Failed, seconds(r.Took))
	}
	return fmt.Sprintf("%s  %-12s %s: %s", now.Format(time.TimeOnly), r.Name, r.Title, seconds(r.Took))
}

// eventLine describes an event for people, "" if they need not see it.
func eventLine(host string, e agent.Event, verbose int, changes bool) string {
	show := verbose > 0
	switch e.Type {
	case agent.EventLog:
		if show = show && e.Level != "DEBUG" || verbose > 1; show || e.Level == "WARN" || e.Level == "ERROR" {
			return fmt.Sprintf("          %-12s %s: %s", host, e.Level, e.Text)
		}
	case agent.EventStep:
		if e.State == step.Failed && !show {
			e.Reason = ""
		}
		if show || e.State == step.Changed && changes || e.State == step.Failed {
			return fmt.Sprintf("          %-12s %-8s %s%s", host, e.State, e.ID, reason(e.Reason))
		}
	}
	return ""
}

func reason(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// runJSON writes every event as a line of JSON.
type runJSON struct {
	mu sync.Mutex
	w  io.Writer
	// now, if it is not nil, returns the time that every line gets.
	now func() time.Time
}

// runEvent is a line about a stage or a whole run.
type runEvent map[string]any

func (p *runJSON) emit(e runEvent) {
	if t := p.time(); !t.IsZero() {
		e["time"] = t
	}
	p.encode(e)
}

func (p *runJSON) time() time.Time {
	if p.now == nil {
		return time.Time{}
	}
	return p.now().UTC()
}

func (p *runJSON) encode(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(p.w).Encode(v)
}

func (p *runJSON) StageStart(name, title string, hosts int) {
	p.emit(runEvent{"event": "stage", "stage": name, "title": title, "hosts": hosts})
}

func (p *runJSON) Event(stage, host string, e agent.Event) {
	p.encode(struct {
		Time  time.Time `json:"time,omitzero"`
		Kind  string    `json:"event"`
		Stage string    `json:"stage"`
		Host  string    `json:"host"`
		agent.Event
	}{p.time(), "host", stage, host, e})
}

func (p *runJSON) StageEnd(r installer.StageReport) {
	p.emit(runEvent{"event": "stageEnd", "stage": r.Name, "took": r.Took.Seconds(), "failed": r.Failed})
}
