package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// Node sets labels and taints of a node. An annotation of the node lists them, so that
// any control plane can remove those that are no longer wanted. Others stay.
type Node struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Taints []string          `json:"taints,omitempty"` // "key=value:Effect", "key:Effect"
}

func (*Node) Kind() string { return "kube-node" }

func (n *Node) Target() step.Target { return step.Target{Name: n.Name} }

func (n *Node) Describe() string {
	return fmt.Sprintf("node %s: labels %s taints %s", n.Name,
		strings.Join(n.labelArgs(), " "), strings.Join(n.Taints, " "))
}

func (n *Node) Validate() error {
	errs := []error{step.CheckName("name", n.Name)}
	for _, l := range n.labelArgs() {
		if strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") {
			errs = append(errs, fmt.Errorf("label %q: not a label", l))
		}
	}
	for _, t := range n.Taints {
		if _, err := parseTaint(t); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (n *Node) labelArgs() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		out = append(out, k+"="+n.Labels[k])
	}
	return out
}

func parseTaint(s string) (taint, error) {
	rest, effect, _ := strings.Cut(s, ":")
	key, value, _ := strings.Cut(rest, "=")
	if key == "" || strings.HasPrefix(key, "-") || !slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, effect) {
		return taint{}, fmt.Errorf("taint %q: want key=value:Effect", s)
	}
	return taint{Key: key, Value: value, Effect: effect}, nil
}

// managedAnnotation is the annotation of a node that holds managed as JSON.
const managedAnnotation = "offk8s.dev/managed"

// managed are the labels and taints that offk8s has set on a node.
type managed struct {
	Labels []string `json:"labels,omitempty"` // keys
	Taints []string `json:"taints,omitempty"` // "key:Effect"
}

// text returns the value of the annotation.
func (m managed) text() string {
	b, err := json.Marshal(m)
	if err != nil {
		return "" // impossible: only strings
	}
	return string(b)
}

// id identifies a taint on its node, "key:Effect".
func (t taint) id() string { return t.Key + ":" + t.Effect }

// wanted returns what the step manages.
func (n *Node) wanted() (managed, error) {
	m := managed{Labels: slices.Sorted(maps.Keys(n.Labels))}
	for _, s := range n.Taints {
		t, err := parseTaint(s)
		if err != nil {
			return m, err
		}
		m.Taints = append(m.Taints, t.id())
	}
	slices.Sort(m.Taints)
	return m, nil
}

// nodeDiff is the difference between a live node and the step.
type nodeDiff struct {
	absent  bool     // the node is not registered
	missing []string // in words
	// record and excess are what the annotation lists, and what of it nobody wants and the
	// node still has.
	record, excess managed
	want           managed
}

func (n *Node) compare(ctx context.Context, env *step.Env) (nodeDiff, error) {
	var d nodeDiff
	l, ok, err := nodeOf(ctx, env, n.Name)
	if err != nil {
		return d, err
	}
	if d.want, err = n.wanted(); err != nil {
		return d, err
	}
	if !ok {
		d.absent = true
		return d, nil
	}
	for _, k := range d.want.Labels {
		if have, ok := l.Metadata.Labels[k]; !ok || have != n.Labels[k] {
			d.missing = append(d.missing, "label "+k)
		}
	}
	for _, s := range n.Taints {
		if t, err := parseTaint(s); err != nil {
			return d, err
		} else if !slices.Contains(l.Spec.Taints, t) {
			d.missing = append(d.missing, "taint "+s)
		}
	}
	if text := l.Metadata.Annotations[managedAnnotation]; text != "" {
		if err := json.Unmarshal([]byte(text), &d.record); err != nil {
			return d, fmt.Errorf("node %s: annotation %s: %w", n.Name, managedAnnotation, err)
		}
	}
	for _, k := range d.record.Labels {
		if _, ok := l.Metadata.Labels[k]; ok && !slices.Contains(d.want.Labels, k) {
			d.excess.Labels = append(d.excess.Labels, k)
		}
	}
	for _, t := range l.Spec.Taints {
		if slices.Contains(d.record.Taints, t.id()) && !slices.Contains(d.want.Taints, t.id()) {
			d.excess.Taints = append(d.excess.Taints, t.id())
		}
	}
	return d, nil
}

// reason describes the difference, "" if there is none.
func (d nodeDiff) reason(node string) string {
	var out []string
	switch {
	case d.absent:
		return "node " + node + " is not registered"
	case len(d.missing) > 0:
		out = append(out, "missing: "+strings.Join(d.missing, ", "))
	}
	for _, k := range d.excess.Labels {
		out = append(out, "no longer wanted: label "+k)
	}
	for _, t := range d.excess.Taints {
		out = append(out, "no longer wanted: taint "+t)
	}
	if len(out) == 0 && d.record.text() != d.want.text() {
		return "the node does not list them as set by offk8s"
	}
	return strings.Join(out, "; ")
}

func (n *Node) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	d, err := n.compare(ctx, env)
	if err != nil {
		return step.CheckResult(ctx, "", err)
	}
	return step.CheckResult(ctx, d.reason(n.Name), nil)
}

func (n *Node) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	d, err := n.compare(ctx, env)
	if err != nil {
		return step.Result{}, err
	}
	if err := n.set(ctx, env, d); err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Changed}, nil
}

// set changes the node. The annotation lists a label or taint for as long as the node
// may have it, so that an interrupted run forgets none.
func (n *Node) set(ctx context.Context, env *step.Env, d nodeDiff) error {
	all := managed{Labels: union(d.want.Labels, d.excess.Labels), Taints: union(d.want.Taints, d.excess.Taints)}
	steps := []struct {
		verb string
		args []string
	}{
		{"annotate", annotation(d.record, all)},
		{"label", append(n.labelArgs(), removals(d.excess.Labels)...)},
		{"taint", append(slices.Clone(n.Taints), removals(d.excess.Taints)...)},
		{"annotate", annotation(all, d.want)},
	}
	for _, s := range steps {
		if len(s.args) == 0 {
			continue
		}
		if _, err := kubectl(ctx, env, nil, append([]string{s.verb, "node", n.Name, "--overwrite"}, s.args...)...); err != nil {
			return err
		}
	}
	return nil
}

// annotation returns the argument that changes the annotation, if it changes.
func annotation(from, to managed) []string {
	empty := managed{}.text()
	switch {
	case from.text() == to.text():
		return nil
	case to.text() == empty:
		return []string{managedAnnotation + "-"}
	}
	return []string{managedAnnotation + "=" + to.text()}
}

// removals returns the arguments of kubectl that remove labels or taints.
func removals(keys []string) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k+"-")
	}
	return out
}

// union returns the elements of both, sorted.
func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// Undo removes the labels and taints that offk8s has set, if the node stays in the
// cluster. A reset removes the cluster as a whole.
func (n *Node) Undo(ctx context.Context, env *step.Env, _ json.RawMessage) error {
	if !clusterStays(env) {
		return nil
	}
	none := &Node{Name: n.Name}
	d, err := none.compare(ctx, env)
	if err != nil || d.absent {
		return err
	}
	return none.set(ctx, env, d)
}
