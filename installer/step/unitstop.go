package step

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// UnitStop stops units that a later step removes, in their order, because others must not
// meet them any more. The journal has no record of it: undo must not start them again.
type UnitStop struct {
	NoUndo
	Names []string `json:"names"` // "keepalived.service"
}

func (*UnitStop) Kind() string { return "unit-stop" }

func (*UnitStop) Observes() bool { return true }

func (u *UnitStop) Describe() string { return "stop " + strings.Join(u.Names, ", ") }

func (u *UnitStop) Validate() error {
	if len(u.Names) == 0 {
		return errors.New("names: none")
	}
	for _, n := range u.Names {
		if !unitName(n) {
			return fmt.Errorf("name %q: want a unit name such as %q", n, "etcd.service")
		}
	}
	return nil
}

func (u *UnitStop) Check(ctx context.Context, env *Env) (Result, error) {
	running, err := u.running(ctx, env)
	reason := ""
	if len(running) > 0 {
		reason = strings.Join(running, ", ") + " run"
	}
	return CheckResult(ctx, reason, err)
}

// running returns the units that run or will be started again.
func (u *UnitStop) running(ctx context.Context, env *Env) ([]string, error) {
	var out []string
	for _, n := range u.Names {
		s, err := env.unitState(ctx, n)
		if err != nil {
			return nil, err
		}
		if s.running() || s.active == "activating" {
			out = append(out, n)
		}
	}
	return out, nil
}

func (u *UnitStop) Apply(ctx context.Context, env *Env) (Result, error) {
	running, err := u.running(ctx, env)
	if err != nil {
		return Result{}, err
	}
	for _, n := range running {
		if err := env.systemctl(ctx, "stop", "--", n); err != nil {
			return Result{}, err
		}
	}
	return Result{State: Changed, Reason: "stopped " + strings.Join(running, ", ")}, nil
}
