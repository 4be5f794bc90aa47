package installer

import (
	"context"
	"slices"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
)

// lookAhead makes the agents begin to look at the steps of all stages. In a run that
// changes nothing, they have most answers when a stage asks for them. The first stage meets
// an error again.
func (r *runner) lookAhead(ctx context.Context) {
	items, stages := map[string][]step.Item{}, map[string]int{}
	for _, st := range r.plan.Stages {
		if st.Work != stage.Apply {
			continue
		}
		for _, h := range st.Hosts {
			if _, err := r.fleet.member(h.Host); err != nil {
				continue
			}
			if st.AnyOf {
				items[h.Host] = append(items[h.Host], gatesOn(h)...)
			}
			items[h.Host] = append(items[h.Host], h.Items...)
			stages[h.Host]++
			if st.AnyOf {
				break
			}
		}
	}
	var hosts []string
	for _, name := range names(r.fleet.cluster) {
		if stages[name] > 1 {
			hosts = append(hosts, name)
		}
	}
	_ = r.fleet.each(ctx, hosts, func(ctx context.Context, name string) error {
		m, err := r.fleet.member(name)
		if err != nil {
			return err
		}
		req, err := request(PlanHost{Host: name, Items: firstOfID(items[name])}, r.o)
		if err != nil {
			return err
		}
		req.Mode = agent.ModeAhead
		r.sign(&req)
		return m.call(ctx, req, func(agent.Event) {})
	})
}

// gatesOn returns the gates of a host that it passes by itself.
func gatesOn(h PlanHost) []step.Item {
	var out []step.Item
	for _, g := range h.Before {
		if slices.Index(g.On, h.Host) == 0 {
			out = append(out, g.Item)
		}
	}
	return out
}

// firstOfID returns items without those whose ID an earlier one has: gates are the same
// for several stages, and some stages have steps of earlier ones in another form.
func firstOfID(items []step.Item) []step.Item {
	var out []step.Item
	seen := map[string]bool{}
	for _, it := range items {
		if !seen[it.ID] {
			seen[it.ID] = true
			out = append(out, it)
		}
	}
	return out
}
