package installer

import (
	"context"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
)

// ResetOptions configure Reset; the zero value is useful.
type ResetOptions struct {
	Progress Progress // may be nil
}

// Reset restores the state that every host had before offk8s, from the host's
// journal, on all hosts at the same time, and removes the agent's program. A host
// of another cluster refuses. HostReport.Stays lists the operating system packages
// that stay on purpose. Errors are as of Run.
func Reset(ctx context.Context, f *Fleet, o ResetOptions) (*Report, error) {
	r := newRunner(f, agent.ModeUndo, o.Progress)
	st := PlanStage{Name: "reset", Title: "restore what was there before"}
	for _, name := range names(f.cluster) {
		st.Hosts = append(st.Hosts, PlanHost{Host: name})
	}
	err := r.stage(ctx, st, func(ctx context.Context, m *member, h PlanHost, on func(agent.Event)) error {
		req := agent.Request{Mode: agent.ModeUndo, Cluster: f.cluster.Name, Host: h.Host}
		if err := m.call(ctx, req, on); err != nil {
			return err
		}
		return removeAgent(ctx, m)
	})
	r.report.Took = time.Since(r.report.Started)
	return r.report, err
}
