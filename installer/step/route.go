package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Route is an entry of the host's routing table until the next boot. A unit that sets
// it at boot is another step.
type Route struct {
	Destination string `json:"destination"` // address or network, "169.254.169.254"
	// Via is the gateway; without one the destination is unreachable.
	Via string `json:"via,omitempty"`
}

func (r *Route) Kind() string { return "route" }

func (r *Route) Target() Target { return Target{Destination: r.Destination} }

func (r *Route) Describe() string {
	if r.Via == "" {
		return fmt.Sprintf("route %s unreachable", r.Destination)
	}
	return fmt.Sprintf("route %s via %s", r.Destination, r.Via)
}

func (r *Route) Validate() error {
	_, err := parseNet(r.Destination)
	errs := []error{err}
	if r.Via != "" {
		_, err := parseNet(r.Via)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *Route) Check(ctx context.Context, env *Env) (Result, error) {
	have, err := r.show(ctx, env)
	if err != nil {
		return Result{}, err
	}
	if r.is(have) {
		return Result{State: OK}, nil
	}
	reason := "no such route"
	if have != "" {
		reason = "is " + have
	}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(routePrior{have})}, nil
}

func (r *Route) Apply(ctx context.Context, env *Env) (Result, error) {
	have, err := r.show(ctx, env)
	if err != nil {
		return Result{}, err
	}
	argv := []string{"ip", "route", "replace"}
	if r.Via == "" {
		argv = append(argv, "unreachable", r.Destination)
	} else {
		argv = append(argv, r.Destination, "via", r.Via)
	}
	if _, err := env.Run.Run(ctx, Cmd{Argv: argv}); err != nil {
		return Result{}, fmt.Errorf("set route: %w", err)
	}
	return Result{State: Changed, Reason: "set", Prior: priorJSON(routePrior{have})}, nil
}

func (r *Route) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var prior routePrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("route: prior state: %w", err)
	}
	have, err := r.show(ctx, env)
	if err != nil || !r.is(have) {
		return err
	}
	argv := append([]string{"ip", "route", "replace"}, strings.Fields(prior.Was)...)
	if prior.Was == "" {
		argv = []string{"ip", "route", "del"}
		if r.Via == "" {
			argv = append(argv, "unreachable")
		}
		argv = append(argv, r.Destination)
	}
	_, err = env.Run.Run(ctx, Cmd{Argv: argv})
	return err
}

// routePrior is the previous entry, as ip prints it.
type routePrior struct {
	Was string `json:"was,omitempty"`
}

func (r *Route) show(ctx context.Context, env *Env) (string, error) {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{"ip", "route", "show", "exact", r.Destination}})
	if err != nil {
		return "", fmt.Errorf("ask for route: %w", err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out.Stdout)), "\n")
	return strings.TrimSpace(line), nil
}

func (r *Route) is(line string) bool {
	if r.Via == "" {
		return strings.HasPrefix(line, "unreachable ")
	}
	return strings.Contains(line+" ", " via "+r.Via+" ")
}
