// Package kube holds the step kinds that work on the cluster rather than on one
// host: they run the bundle's own kubectl on a control plane, so that client and
// server are always of one version, or containerd's ctr and etcdctl where those
// know better.
//
// Programs get data as argv and stdin, never through a shell. Kinds lists the
// kinds for the agent's decoder; a new kind is one file and one line there.
package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Where the phases put what these steps use.
const (
	BinDir    = "/usr/local/bin"
	Kubectl   = BinDir + "/kubectl"
	Ctr       = BinDir + "/ctr"
	Etcdctl   = BinDir + "/etcdctl"
	AdminConf = "/etc/kubernetes/admin.conf"
	CertsDir  = "/etc/containerd/certs.d"
)

// Kinds returns the constructors of this package's kinds.
func Kinds() step.Kinds {
	return step.Kinds{
		"kube-apply":      func() step.Step { return &Apply{} },
		"kube-rollout":    func() step.Step { return &Rollout{} },
		"kube-nodes":      func() step.Step { return &Nodes{} },
		"kube-node":       func() step.Step { return &Node{} },
		"kube-csr":        func() step.Step { return &ApproveCSRs{} },
		"kube-token":      func() step.Step { return &Token{} },
		"kube-token-gone": func() step.Step { return &TokenGone{} },
		"kube-smoke":      func() step.Step { return &Smoke{} },
		"image":           func() step.Step { return &Image{} },
		"etcd-data":       func() step.Step { return &EtcdData{} },
		"kube-cleanup":    func() step.Step { return &Cleanup{} },
	}
}

// kubectl runs the bundle's kubectl as admin.
func kubectl(ctx context.Context, env *step.Env, stdin []byte, args ...string) ([]byte, error) {
	argv := append([]string{Kubectl, "--kubeconfig", AdminConf}, args...)
	out, err := env.Run.Run(ctx, step.Cmd{Argv: argv, Stdin: stdin})
	if err != nil {
		return out.Stdout, fmt.Errorf("kubectl %s: %w", args[0], err)
	}
	return out.Stdout, nil
}

// getList reads objects as JSON; none is an empty list.
func getList(ctx context.Context, env *step.Env, into any, args ...string) error {
	out, err := kubectl(ctx, env, nil, append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(out)) == 0 {
		return nil
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("kubectl get %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// notYet turns an error of a Check into a difference: before the API server runs,
// or before kubectl is installed, there is nothing to compare with, and Apply
// tells the error again when it is more than that.
func notYet(ctx context.Context, err error) (step.Result, error) {
	if ctx.Err() != nil {
		return step.Result{}, context.Cause(ctx)
	}
	return step.Result{State: step.Differs, Reason: "cannot look yet: " + err.Error()}, nil
}

// poll calls done until it says so, ctx ends or the time is over; then the last
// reason is the error. An error of done counts as "not yet".
func poll(ctx context.Context, timeout, interval time.Duration, what string, done func(context.Context) (bool, string, error)) error {
	// A look that has begun may end, so that there is always a last reason.
	look, cancel := context.WithTimeout(ctx, timeout+lookLimit)
	defer cancel()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	last := "nothing was seen"
	for {
		ok, reason, err := done(look)
		switch {
		case ok:
			return nil
		case err != nil && look.Err() == nil:
			last = err.Error()
		case err == nil:
			last = reason
		}
		t := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-deadline.C:
			t.Stop()
			return fmt.Errorf("%s: not within %s (last: %s)", what, timeout, last)
		case <-t.C:
		}
	}
}

// lookLimit is how long a last look may take beyond the timeout.
const lookLimit = 10 * time.Second

// interval between two looks at the cluster.
const interval = 2 * time.Second

func timeout(d step.Duration, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// NoUndo is embedded by kinds that Undo has nothing to do for: their work lives
// in etcd or is a look, and reset removes the whole cluster.
type NoUndo struct{}

// Undo does nothing.
func (NoUndo) Undo(context.Context, *step.Env, json.RawMessage) error { return nil }

func checkName(field, s string) error {
	if s == "" || strings.HasPrefix(s, "-") || strings.ContainsAny(s, " \t\n\r\x00/") {
		return fmt.Errorf("%s %q: not a name", field, s)
	}
	return nil
}
