package installer

import (
	"context"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/stage"
)

// ResetOptions configure Reset; the zero value is useful.
type ResetOptions struct {
	Progress Progress // may be nil
	// Identity, if set, is the one of the cluster: hosts of another cluster of that name
	// refuse.
	Identity string
}

// Installed returns what the journal of a host records of its cluster, nil if it has none.
func (f *Fleet) Installed(ctx context.Context, name string) (*facts.Installed, error) {
	seen, err := f.facts(ctx, agent.Request{Mode: agent.ModeFacts}, f.cluster.Hosts)
	return seen[name].facts.Installed, err
}

// Reset restores the state that every host had before offk8s, from the host's
// journal, on all hosts at the same time, and removes the agent's program. A host
// of another cluster refuses. HostReport.Stays lists the operating system packages
// that stay on purpose. Errors are as of Run.
func Reset(ctx context.Context, f *Fleet, o ResetOptions) (*Report, error) {
	plan, err := NewPlan(stage.Input{Cluster: f.cluster, Away: f.away()}, stage.Reset())
	if err != nil {
		return nil, err
	}
	return run(ctx, plan, f, agent.ModeUndo, RunOptions{Progress: o.Progress, Identity: o.Identity})
}
