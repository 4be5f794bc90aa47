package installer

import (
	"cmp"
	"context"
	"slices"

	"github.com/offk8s/offk8s/installer/stage"
)

// Doctor runs the checks of Preflight, and of the connection to each host and the mirror m,
// and changes nothing. It returns all checks: those of the cluster first, then by host in
// the order of cluster.yaml. Checks that fail are no error.
func (f *Fleet) Doctor(ctx context.Context, in stage.Input, m *Mirror) ([]stage.Check, error) {
	in.Thorough = true
	in, found, err := f.Preflight(ctx, in)
	if err != nil && found == nil {
		return nil, err
	}
	missing := f.Missing()
	var checks []stage.Check
	for _, name := range names(f.cluster) {
		checks = append(checks, stage.Connection(in, name, missing[name]))
	}
	if m != nil {
		checks = append(checks, stage.Mirror(in, m.Complete(ctx, in)))
	}
	checks = append(checks, found...)
	order := names(f.cluster)
	slices.SortStableFunc(checks, func(a, b stage.Check) int {
		return cmp.Compare(slices.Index(order, a.Host), slices.Index(order, b.Host))
	})
	return checks, nil
}
