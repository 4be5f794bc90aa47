package installer

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
)

// Plan is the ordered list of steps for all hosts. Its JSON is stable: the same
// Input gives the same bytes. It refers to secrets by name and does not contain them.
type Plan struct {
	Cluster    string        `json:"cluster"`
	Bundle     string        `json:"bundle"` // name
	Root       digest.Digest `json:"root,omitempty"`
	Kubernetes string        `json:"kubernetes"`
	Stages     []PlanStage   `json:"stages"`
}

// PlanStage is one stage of a plan.
type PlanStage struct {
	Name  string     `json:"name"`
	Title string     `json:"title"`
	Hosts []PlanHost `json:"hosts"` // with at least one step, in the order of cluster.yaml
}

// PlanHost is the steps of a stage on one host.
type PlanHost struct {
	Host  string      `json:"host"`
	Items []step.Item `json:"items"`
}

// NewPlan returns the plan that the stages make of in, without stages that have no
// steps. It is pure. The error joins the errors of all stages and hosts, in that order.
func NewPlan(in stage.Input, stages []stage.Stage) (*Plan, error) {
	p := &Plan{
		Cluster: in.Cluster.Name, Bundle: in.Lock.Name, Root: in.Root, Kubernetes: in.Lock.Kubernetes,
	}
	seen := map[string]bool{}
	var errs []error
	for _, st := range stages {
		if st.Steps == nil {
			continue
		}
		out := PlanStage{Name: st.Name, Title: st.Title}
		for _, h := range in.Cluster.Hosts {
			items, err := st.Steps(in, h)
			if err != nil {
				// The cause may concern several stages.
				if key := h.Name + " " + err.Error(); !seen[key] {
					errs = append(errs, fmt.Errorf("plan: stage %q: host %q: %w", st.Name, h.Name, err))
					seen[key] = true
				}
				continue
			}
			for _, it := range items {
				// The journal of a host is keyed by ID over all stages.
				if key := h.Name + " " + it.ID; seen[key] {
					errs = append(errs, fmt.Errorf("plan: stage %q: host %q: step %q twice", st.Name, h.Name, it.ID))
				} else {
					seen[key] = true
				}
			}
			if len(items) > 0 {
				out.Hosts = append(out.Hosts, PlanHost{h.Name, items})
			}
		}
		if len(out.Hosts) > 0 {
			p.Stages = append(p.Stages, out)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// Steps returns the number of steps on all hosts.
func (p *Plan) Steps() int {
	n := 0
	for _, st := range p.Stages {
		for _, h := range st.Hosts {
			n += len(h.Items)
		}
	}
	return n
}

// WriteText writes the plan for people. Steps of a stage that read the same on several
// hosts are written once; those of one host are in order.
func (p *Plan) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "cluster %s, Kubernetes %s, bundle %s\n", p.Cluster, p.Kubernetes, p.Bundle)
	for _, st := range p.Stages {
		fmt.Fprintf(b, "\n%s: %s\n", st.Name, st.Title)
		writeHosts(b, st.Hosts, p.hosts())
	}
	return b.Flush()
}
