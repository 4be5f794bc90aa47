package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// newRunProgress returns the progress display of a run: plain lines, JSON lines, or nil.
func (a *app) newRunProgress() installer.Progress {
	switch {
	case a.quiet || a.progress == "none":
		return nil
	case a.progress == "json":
		return &runJSON{w: a.stderr}
	default:
		return &runLines{w: a.stderr, verbose: a.verbose > 0}
	}
}

// runLines writes a line per stage, change and failure; with -v, one per step.
type runLines struct {
	mu      sync.Mutex
	w       io.Writer
	verbose bool
}

func (p *runLines) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *runLines) StageStart(name, title string, hosts int) {
	p.printf("%s  %-12s %s (%d hosts)", time.Now().Format(time.TimeOnly), name, title, hosts)
}

func (p *runLines) Event(_, host string, e agent.Event) {
	switch {
	case e.Type == agent.EventLog && (p.verbose || e.Level == "WARN" || e.Level == "ERROR"):
		p.printf("          %-12s %s: %s", host, e.Level, e.Text)
	case e.Type == agent.EventStep && (p.verbose || e.State == step.Changed || e.State == step.Failed):
		p.printf("          %-12s %-8s %s%s", host, e.State, e.ID, reason(e.Reason))
	}
}

func reason(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func (p *runLines) StageEnd(r installer.StageReport) {
	if len(r.Failed) > 0 {
		p.printf("%s  %-12s failed on %v", time.Now().Format(time.TimeOnly), r.Name, r.Failed)
	}
}

// runJSON writes every event as a line of JSON.
type runJSON struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *runJSON) emit(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(p.w).Encode(v)
}

func (p *runJSON) StageStart(name, title string, hosts int) {
	p.emit(map[string]any{"event": "stage", "stage": name, "title": title, "hosts": hosts})
}

func (p *runJSON) Event(stage, host string, e agent.Event) {
	p.emit(struct {
		Kind  string `json:"event"`
		Stage string `json:"stage"`
		Host  string `json:"host"`
		agent.Event
	}{"host", stage, host, e})
}

func (p *runJSON) StageEnd(r installer.StageReport) {
	p.emit(map[string]any{"event": "stageEnd", "stage": r.Name, "took": r.Took.Seconds(), "failed": r.Failed})
}
