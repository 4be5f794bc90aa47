package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Drain moves the pods away from a node that is about to leave. Pods of DaemonSets
// stay; pods without a controller are lost, as they are with their node.
type Drain struct {
	step.NoUndo
	Name    string        `json:"name"`
	Args    []string      `json:"args,omitempty"`    // of kubectl drain, by version
	Timeout step.Duration `json:"timeout,omitempty"` // default 10 minutes
}

func (*Drain) Kind() string { return "kube-drain" }

func (*Drain) Observes() bool { return true }

func (d *Drain) Describe() string { return "node " + d.Name + " runs no pods" }

func (d *Drain) Validate() error {
	err := step.CheckName("name", d.Name)
	for _, a := range d.Args {
		if !strings.HasPrefix(a, "--") {
			err = errors.Join(err, fmt.Errorf("argument %q: want a flag", a))
		}
	}
	return err
}

func (d *Drain) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	return checkGone(ctx, env, d.Name, "it may run pods")
}

// Apply waits for disruption budgets, and fails if a pod cannot be evicted in time.
func (d *Drain) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	limit := timeout(d.Timeout, 10*time.Minute)
	args := append([]string{
		"drain", d.Name, "--ignore-daemonsets", "--force", "--timeout=" + limit.String(),
	}, d.Args...)
	argv := append([]string{Kubectl, "--kubeconfig", adminConf(env)}, args...)
	if _, err := env.Run.Run(ctx, step.Cmd{Argv: argv, Timeout: limit + time.Minute}); err != nil {
		return step.Result{}, fmt.Errorf("drain node %q: %w", d.Name, err)
	}
	return step.Result{State: step.Changed, Reason: "drained"}, nil
}

// NodeGone deletes the Node of a host that has left.
type NodeGone struct {
	step.NoUndo
	Name string `json:"name"`
}

func (*NodeGone) Kind() string { return "kube-node-gone" }

func (*NodeGone) Observes() bool { return true }

func (n *NodeGone) Describe() string { return "no node " + n.Name }

func (n *NodeGone) Validate() error { return step.CheckName("name", n.Name) }

func (n *NodeGone) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	return checkGone(ctx, env, n.Name, "it is registered")
}

func (n *NodeGone) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	if _, err := kubectl(ctx, env, nil, "delete", "node", n.Name, "--ignore-not-found"); err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Changed, Reason: "deleted"}, nil
}

// checkGone differs, for the reason, as long as the node is registered.
func checkGone(ctx context.Context, env *step.Env, name, reason string) (step.Result, error) {
	_, ok, err := nodeOf(ctx, env, name)
	if !ok {
		reason = ""
	}
	return step.CheckResult(ctx, reason, err)
}
