package installer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Plan is the ordered list of steps for all hosts. Its JSON is stable: the same
// Input gives the same bytes. It refers to secrets by name and does not contain them.
type Plan struct {
	Operation  string        `json:"operation"` // install
	Cluster    string        `json:"cluster"`
	Bundle     string        `json:"bundle"` // name
	Root       digest.Digest `json:"root,omitempty"`
	Kubernetes string        `json:"kubernetes"`
	Stages     []PlanStage   `json:"stages"`

	// The hosts that journals record: those of cluster.yaml, and as long as some have yet
	// to leave, these too.
	members, leavers []facts.Member
	// whole is the plan of all hosts, also of those that are away, nil if there is none.
	whole *Plan
	// patience is how long steps wait for other hosts that work at the same time; 0 if they
	// have to be ready.
	patience time.Duration
}

// PlanStage is one stage of a plan.
type PlanStage struct {
	Name  string     `json:"name"`
	Title string     `json:"title"`
	Work  stage.Work `json:"work,omitempty"`
	// AnyOf: the first of Hosts that is there and whose gates hold does the work for all.
	AnyOf bool `json:"anyOf,omitempty"`
	// AtATime is how many hosts may be changed at the same time, the first one alone; 0
	// means all.
	AtATime int        `json:"atATime,omitempty"`
	Hosts   []PlanHost `json:"hosts"` // in order, with at least one step each unless Work says otherwise

	leaves bool
}

// PlanHost is the steps of a stage on one host.
type PlanHost struct {
	Host string `json:"host"`
	// Optional: a failure on this host does not stop the others. The rest of the run
	// leaves it out.
	Optional bool         `json:"optional,omitempty"`
	Before   []stage.Gate `json:"before,omitempty"`
	Items    []step.Item  `json:"items"`
	After    []stage.Gate `json:"after,omitempty"`
}

// NewPlan returns the plan that the operation makes of in, without stages that have no
// steps. It is pure. The error joins the errors of all stages and hosts, in that order.
func NewPlan(in stage.Input, op stage.Operation) (*Plan, error) {
	all := in
	all.Away = nil
	whole, err := newPlan(all, op)
	if in.Alone.Host != "" && err == nil {
		whole = whole.Alone(in.Alone.Host)
		whole.patience = in.Alone.Wait
	}
	if len(in.Away) == 0 {
		return whole, err
	}
	p, err := newPlan(in, op)
	if err != nil {
		return nil, err
	}
	if p.whole = whole; whole == nil { // unknown what to keep
		p.Stages = slices.DeleteFunc(p.Stages, func(st PlanStage) bool { return st.Work == stage.Prune })
	}
	return p, nil
}

func newPlan(in stage.Input, op stage.Operation) (*Plan, error) {
	p := &Plan{Operation: op.Name, Cluster: in.Cluster.Name}
	if in.Lock != nil {
		p.Bundle, p.Root, p.Kubernetes = in.Lock.Name, in.Root, in.Lock.Kubernetes
	}
	p.members, p.leavers = stage.Members(in)
	pl := planner{in: in, seen: map[string]bool{}}
	for _, st := range op.Stages {
		if out := pl.stage(st); len(out.Hosts) > 0 {
			p.Stages = append(p.Stages, out)
		}
	}
	if err := errors.Join(pl.errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// planner collects the errors of the plan.
type planner struct {
	in   stage.Input
	seen map[string]bool
	errs []error
}

func (p *planner) stage(st stage.Stage) PlanStage {
	out := PlanStage{Name: st.Name, Title: st.Title, Work: st.Work, AnyOf: st.AnyOf, leaves: st.Leaves}
	if st.Steps == nil && st.Work == stage.Apply {
		return out
	}
	if st.AtATime != nil {
		out.AtATime = st.AtATime(p.in)
	}
	hosts := p.in.Cluster.Hosts
	if st.Hosts != nil {
		hosts = st.Hosts(p.in)
	}
	for _, h := range hosts {
		if p.in.Away[h.Name] {
			continue
		}
		ph := PlanHost{Host: h.Name, Items: p.items(st, h), Optional: out.AtATime == 0 && !st.AnyOf && !st.Leaves && optional(h)}
		if len(ph.Items) == 0 && st.Work == stage.Apply {
			continue
		}
		if st.Before != nil && (st.AnyOf || out.AtATime > 0) {
			ph.Before = st.Before(p.in, h)
		}
		if st.After != nil && out.AtATime > 0 {
			ph.After = st.After(p.in, h)
		}
		out.Hosts = append(out.Hosts, ph)
	}
	return out
}

// optional reports whether the cluster works without the host.
func optional(h manifests.Host) bool {
	return !h.HasRole(manifests.RoleControlPlane) && !h.HasRole(manifests.RoleEtcd)
}

// items returns the steps of a stage on a host and notes errors.
func (p *planner) items(st stage.Stage, h manifests.Host) []step.Item {
	if st.Steps == nil {
		return nil
	}
	items, err := st.Steps(p.in, h)
	if err != nil {
		// The cause may concern several stages.
		if key := h.Name + " " + err.Error(); !p.seen[key] {
			p.errs = append(p.errs, fmt.Errorf("plan: stage %q: host %q: %w", st.Name, h.Name, err))
			p.seen[key] = true
		}
		return nil
	}
	for _, it := range items {
		// The journal of a host is keyed by ID over all stages.
		if key := h.Name + " " + it.ID; p.seen[key] && !st.Again {
			p.errs = append(p.errs, fmt.Errorf("plan: stage %q: host %q: step %q twice", st.Name, h.Name, it.ID))
		} else {
			p.seen[key] = true
		}
	}
	return items
}

// keep returns the steps that a host's journal keeps in a run of this plan
// (agent.Request.Keep), and their IDs.
func (p *Plan) keep(host string) (items []step.Item, ids []string) {
	if p.whole != nil {
		p = p.whole
	}
	items, ids = p.Wanted(host), []string{}
	for _, it := range items {
		ids = append(ids, it.ID)
	}
	// An older state directory does not know the sealed copy, which stays all the same.
	if slices.ContainsFunc(p.members, func(m facts.Member) bool {
		return m.Name == host && slices.Contains(m.Roles, string(manifests.RoleControlPlane))
	}) && !slices.Contains(ids, stage.StateCopyID) {
		ids = append(ids, stage.StateCopyID)
	}
	return items, ids
}

// Wanted returns the steps that a host has not to undo: its own, and those of any host
// that change the cluster. A control plane that is none any more may have recorded these.
// The plan must be one of all hosts, also of those that are away.
func (p *Plan) Wanted(host string) []step.Item {
	var out []step.Item
	seen := map[string]bool{}
	ofCluster := kube.Kinds()
	for _, st := range p.Stages {
		for _, h := range st.Hosts {
			for _, it := range h.Items {
				if !seen[it.ID] && (h.Host == host || ofCluster[it.Step.Kind()] != nil) {
					seen[it.ID] = true
					out = append(out, it)
				}
			}
		}
	}
	return out
}

// Steps returns the number of steps on all hosts, without gates.
func (p *Plan) Steps() int {
	n := 0
	for _, st := range p.Stages {
		for _, h := range st.Hosts {
			n += len(h.Items)
			if st.AnyOf {
				break
			}
		}
	}
	return n
}

// WriteText writes the plan for people, with a summary first. Steps of a stage that read the
// same on several hosts are written once; those of one host are in order.
func (p *Plan) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	p.writeSummary(b)
	for _, st := range p.Stages {
		fmt.Fprintf(b, "\n%s: %s%s\n", st.Name, st.Title, st.order())
		hosts := st.Hosts
		if st.AnyOf {
			hosts = hosts[:1] // the others have the same steps
		}
		writeHosts(b, st.Work, hosts, p.hosts())
	}
	return b.Flush()
}

// order says in which order the hosts have their turn; "" if it is all together.
func (st PlanStage) order() string {
	switch {
	case st.AnyOf && len(st.Hosts) > 1:
		var names []string
		for _, h := range st.Hosts {
			names = append(names, h.Host)
		}
		return ", on the first that answers of " + strings.Join(names, ", ")
	case st.AtATime == 1:
		return ", one host after the other"
	case st.AtATime > 1:
		return fmt.Sprintf(", the first host alone, then %d at a time", st.AtATime)
	}
	return ""
}
