package kube

import (
	"context"
	"errors"
	"fmt"
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
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
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
	if err := get(ctx, env, &list, apiPath("v1", "", "nodes", "")); err != nil {
		return nil, err
	}
	out := map[string]node{}
	for _, n := range list.Items {
		out[n.Metadata.Name] = n
	}
	return out, nil
}

// nodeOf returns a node, and reports whether it is registered.
func nodeOf(ctx context.Context, env *step.Env, name string) (n node, registered bool, err error) {
	err = get(ctx, env, &n, apiPath("v1", "", "nodes", name))
	if notFound(err) {
		return n, false, nil
	}
	return n, err == nil, err
}
