package installer

import (
	"context"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
)

// ResetOptions tune Reset; the zero value is good.
type ResetOptions struct {
	Progress Progress
}

// Reset restores on every host what was there before offk8s, from the host's
// own journal, all hosts at the same time. A host of another cluster refuses.
// What stays on purpose (operating system packages) is in HostReport.Stays.
func Reset(ctx context.Context, f *Fleet, o ResetOptions) (*Report, error) {
	hosts := names(f.cluster)
	progress := o.Progress
	if progress == nil {
		progress = silent{}
	}
	report := newReport(f.cluster.Name, agent.ModeUndo, hosts)
	const name, title = "reset", "restore what was there before"
	progress.PhaseStart(name, title, len(hosts))
	start := time.Now()
	_ = f.each(ctx, hosts, func(ctx context.Context, h string) error {
		err := f.resetHost(ctx, h, report, func(e agent.Event) { progress.Event(name, h, e) })
		if err != nil {
			report.fail(h, err)
		}
		return err
	})
	report.Took = time.Since(start)
	rep := PhaseReport{Name: name, Title: title, Took: report.Took}
	for _, h := range report.Hosts {
		if h.err != nil {
			rep.Failed = append(rep.Failed, h.Host)
		}
	}
	report.Phases = append(report.Phases, rep)
	progress.PhaseEnd(rep)
	if err := context.Cause(ctx); err != nil {
		return report, err
	}
	return report, report.errorIn(name)
}

func (f *Fleet) resetHost(ctx context.Context, name string, report *Report, on func(agent.Event)) error {
	m, err := f.member(name)
	if err != nil {
		return err
	}
	req := agent.Request{Mode: agent.ModeUndo, Cluster: f.cluster.Name, Host: name}
	err = m.call(ctx, req, func(e agent.Event) {
		on(e)
		switch e.Type {
		case agent.EventStep:
			report.step(name, StepReport{Phase: "reset", ID: e.ID, State: e.State, Reason: e.Reason, Took: e.Took})
		case agent.EventStays:
			report.stays(name, e.Stays)
		}
	})
	if err != nil {
		return err
	}
	return f.unequip(ctx, m)
}
