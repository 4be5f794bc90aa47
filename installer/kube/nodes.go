package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Nodes waits until nodes are registered, or Ready, and changes nothing.
type Nodes struct {
	step.NoUndo
	Names   []string      `json:"names"`
	Ready   bool          `json:"ready,omitempty"`
	Timeout step.Duration `json:"timeout,omitempty"` // default 5 minutes
}

func (*Nodes) Kind() string { return "kube-nodes" }

func (n *Nodes) Describe() string {
	return fmt.Sprintf("wait: nodes %s are %s", strings.Join(n.Names, ", "), n.word())
}

func (n *Nodes) word() string {
	if n.Ready {
		return "ready"
	}
	return "registered"
}

func (n *Nodes) Validate() error {
	if len(n.Names) == 0 {
		return errors.New("names: none")
	}
	var errs []error
	for _, x := range n.Names {
		errs = append(errs, step.CheckName("node", x))
	}
	return errors.Join(errs...)
}

func (n *Nodes) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	reason, err := n.look(ctx, env)
	return step.CheckResult(ctx, reason, err)
}

func (n *Nodes) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	err := step.Poll(ctx, env, timeout(n.Timeout, 5*time.Minute), interval, "nodes "+n.word(),
		func(ctx context.Context) (string, error) { return n.look(ctx, env) })
	if err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Verified, Reason: fmt.Sprintf("%d nodes are %s", len(n.Names), n.word())}, nil
}

func (n *Nodes) look(ctx context.Context, env *step.Env) (reason string, err error) {
	live, err := nodes(ctx, env)
	if err != nil {
		return "", err
	}
	var bad []string
	for _, name := range n.Names {
		l, ok := live[name]
		switch {
		case !ok:
			bad = append(bad, fmt.Sprintf("%s is not registered", name))
		case n.Ready && l.notReady() != "":
			bad = append(bad, fmt.Sprintf("%s is not ready: %s", name, l.notReady()))
		}
	}
	return strings.Join(bad, "; "), nil
}

type node struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Taints []taint `json:"taints"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

type taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// notReady returns the reason, "" if the node is ready and no pod network reports that
// it is not.
func (n node) notReady() string {
	reason := "it has not reported yet"
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == "NetworkUnavailable" && c.Status == "True":
			return c.Message
		case c.Type == "Ready" && c.Status == "True":
			reason = ""
		case c.Type == "Ready":
			reason = c.Message
		}
	}
	return reason
}

// silent reports whether the kubelet has stopped reporting, which the control plane
// marks with the status Unknown.
func (n node) silent() bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c condition) bool { return c.Type == "Ready" && c.Status == "Unknown" })
}

func nodes(ctx context.Context, env *step.Env) (map[string]node, error) {
	var list struct{ Items []node }
	if err := get(ctx, env, &list, "nodes"); err != nil {
		return nil, err
	}
	out := map[string]node{}
	for _, n := range list.Items {
		out[n.Metadata.Name] = n
	}
	return out, nil
}

// Node sets labels and taints of a node. Others stay.
type Node struct {
	step.NoUndo
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

func (n *Node) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	missing, err := n.missing(ctx, env)
	return step.CheckResult(ctx, missing, err)
}

// missing returns the labels and taints that the live node lacks, in words.
func (n *Node) missing(ctx context.Context, env *step.Env) (string, error) {
	live, err := nodes(ctx, env)
	if err != nil {
		return "", err
	}
	l, ok := live[n.Name]
	if !ok {
		return "node " + n.Name + " is not registered", nil
	}
	var missing []string
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		if have, ok := l.Metadata.Labels[k]; !ok || have != n.Labels[k] {
			missing = append(missing, "label "+k)
		}
	}
	for _, t := range n.Taints {
		want, err := parseTaint(t)
		if err != nil {
			return "", err
		}
		if !slices.Contains(l.Spec.Taints, want) {
			missing = append(missing, "taint "+t)
		}
	}
	if len(missing) == 0 {
		return "", nil
	}
	return "missing: " + strings.Join(missing, ", "), nil
}

func (n *Node) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	if len(n.Labels) > 0 {
		args := append([]string{"label", "node", n.Name, "--overwrite"}, n.labelArgs()...)
		if _, err := kubectl(ctx, env, nil, args...); err != nil {
			return step.Result{}, err
		}
	}
	if len(n.Taints) > 0 {
		args := append([]string{"taint", "node", n.Name, "--overwrite"}, n.Taints...)
		if _, err := kubectl(ctx, env, nil, args...); err != nil {
			return step.Result{}, err
		}
	}
	return step.Result{State: step.Changed}, nil
}
