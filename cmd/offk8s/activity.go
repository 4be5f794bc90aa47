package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/offk8s/offk8s/installer/agent"
)

// activity tracks the stage that runs and the step that runs on each host. It is not
// safe for concurrent use.
type activity struct {
	now     func() time.Time
	stage   string // name
	title   string
	hosts   int
	began   time.Time
	ended   int                     // steps of the stage
	running map[string]*runningStep // by host
}

// runningStep is a step that has begun and not ended.
type runningStep struct {
	host, id string
	note     string // the reason why it waits
	began    time.Time
	shown    time.Time // last line about it; at first, when it began
}

func (t *activity) start(name, title string, hosts int) {
	t.stage, t.title, t.hosts, t.began, t.ended = name, title, hosts, t.now(), 0
	t.running = map[string]*runningStep{}
}

func (t *activity) event(host string, e agent.Event) {
	switch e.Type {
	case agent.EventStart:
		now := t.now()
		t.running[host] = &runningStep{host: host, id: e.ID, began: now, shown: now}
	case agent.EventStep:
		if e.State != agent.NotRun {
			t.ended++
		}
		delete(t.running, host)
	case agent.EventLog:
		if s := t.running[host]; s != nil && e.Level == "DEBUG" {
			s.note = e.Text
		}
	}
}

// busiest returns the running steps, the longest first.
func (t *activity) busiest() []*runningStep {
	return slices.SortedFunc(maps.Values(t.running), func(a, b *runningStep) int {
		return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.host, b.host))
	})
}

// slow is how long a step runs before a pipe gets a line about it, and between two lines.
const slow = 15 * time.Second

// overdue returns the running steps that have not been shown for a while, and counts
// them as shown.
func (t *activity) overdue() []*runningStep {
	now := t.now()
	steps := slices.DeleteFunc(t.busiest(), func(s *runningStep) bool { return now.Sub(s.shown) < slow })
	for _, s := range steps {
		s.shown = now
	}
	return steps
}

// frame returns the lines of a live view, at most height lines of at most width runes:
// the stage, and the steps that have run for the longest time.
func (t *activity) frame(width, height int) []string {
	now := t.now()
	lines := []string{fmt.Sprintf("%s: %s: %s, %s done, %s", t.stage, t.title, count(t.hosts, "host"), count(t.ended, "step"), seconds(now.Sub(t.began)))}
	steps := t.busiest()
	others := 0
	if room := max(height-1, 0); len(steps) > room {
		others = len(steps) - max(room-1, 0)
		steps = steps[:len(steps)-others]
	}
	wide := 0
	for _, s := range steps {
		wide = max(wide, len(s.host))
	}
	for _, s := range steps {
		line := fmt.Sprintf("  %-*s %10s  %s", wide, s.host, seconds(now.Sub(s.began)), s.id)
		if s.note != "" {
			line += ": " + s.note
		}
		lines = append(lines, line)
	}
	if others > 0 && height > 1 {
		lines = append(lines, fmt.Sprintf("  and %s", count(others, "other host")))
	}
	for i, line := range lines {
		lines[i] = oneLine(line, width)
	}
	return lines
}

// oneLine returns s without control characters, which could move the cursor, and cut
// to width runes.
func oneLine(s string, width int) string {
	r := []rune(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, s))
	if width > 0 && len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return string(r)
}

// seconds formats a duration in full seconds: "45 s", "2 min 5 s".
func seconds(d time.Duration) string {
	n := int(d.Round(time.Second).Seconds())
	if n < 120 {
		return fmt.Sprintf("%d s", n)
	}
	return fmt.Sprintf("%d min %d s", n/60, n%60)
}
