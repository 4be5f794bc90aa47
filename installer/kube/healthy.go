package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Healthy waits until the API server answers that it is healthy.
type Healthy struct {
	step.NoUndo
	// Kubeconfig is the file with the address and the credential; empty means
	// that of the steps.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Servers, if given, replace the address in the kubeconfig; one that answers is enough.
	Servers []string      `json:"servers,omitempty"`
	Timeout step.Duration `json:"timeout,omitempty"` // default 3 minutes
}

func (*Healthy) Kind() string { return "kube-healthy" }

func (*Healthy) Observes() bool { return true }

func (*Healthy) Describe() string { return "wait: the API server is healthy" }

func (h *Healthy) Validate() error {
	if h.Timeout < 0 {
		return fmt.Errorf("timeout %s: negative", h.Timeout)
	}
	return nil
}

func (h *Healthy) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	reason, err := h.look(ctx, env)
	res, err := step.CheckResult(ctx, reason, err)
	if res.State == step.OK {
		res.State = step.Verified
	}
	return res, err
}

func (h *Healthy) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	start := time.Now()
	err := step.Poll(ctx, env, timeout(h.Timeout, 3*time.Minute), time.Second, "the API server is healthy",
		func(ctx context.Context) (string, error) { return h.look(ctx, env) })
	if err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Verified, Reason: fmt.Sprintf("after %s", time.Since(start).Round(100*time.Millisecond))}, nil
}

// look returns why the API server is not healthy, "" if it is.
func (h *Healthy) look(ctx context.Context, env *step.Env) (reason string, err error) {
	c := admin(env)
	c.Kubeconfig = cmp.Or(h.Kubeconfig, c.Kubeconfig)
	a, err := c.connect()
	if err != nil {
		return "", err
	}
	defer a.close()
	if len(h.Servers) == 0 {
		return a.unhealthy(ctx, env)
	}
	var errs []error
	for _, a.server = range h.Servers {
		switch reason, err := a.unhealthy(ctx, env); {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", a.server, err))
		case reason != "":
			errs = append(errs, fmt.Errorf("%s: %s", a.server, reason))
		default:
			return "", nil
		}
	}
	return "", errors.Join(errs...)
}

// unhealthy returns why the server is not healthy, "" if it is.
func (a *api) unhealthy(ctx context.Context, env *step.Env) (reason string, err error) {
	// An attempt that hangs must not use up all the time.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := a.body(ctx, "/healthz")
	if err != nil || strings.TrimSpace(string(b)) == "ok" {
		return "", err
	}
	return "it answers: " + env.LastLines(string(b), 1), nil
}
