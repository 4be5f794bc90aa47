package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Route is an entry of the host's routing table until the next boot. The unit that
// sets it at boot runs Replace.
type Route struct {
	Destination string `json:"destination"` // address or network, "169.254.169.254"
	// Device is the interface that leads to the destination; without one the
	// destination is unreachable.
	Device string `json:"device,omitempty"`
	// Source is the address that packets by Device come from.
	Source string `json:"source,omitempty"`
}

func (r *Route) Kind() string { return "route" }

func (r *Route) Target() Target { return Target{Destination: r.Destination} }

func (r *Route) Describe() string {
	if r.Device == "" {
		return fmt.Sprintf("route %s unreachable", r.Destination)
	}
	return fmt.Sprintf("route %s dev %s from %s", r.Destination, r.Device, r.Source)
}

func (r *Route) Validate() error {
	_, err := parseNet(r.Destination)
	if r.Device == "" {
		return err
	}
	_, sourceErr := netip.ParseAddr(r.Source)
	return errors.Join(err, CheckName("device", r.Device), sourceErr)
}

// Replace returns the program call that sets the route.
func (r *Route) Replace() []string {
	if r.Device == "" {
		return []string{"ip", "route", "replace", "unreachable", r.Destination}
	}
	return []string{"ip", "route", "replace", r.Destination, "dev", r.Device, "src", r.Source}
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
	if _, err := env.Run.Run(ctx, Cmd{Argv: r.Replace()}); err != nil {
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
		if r.Device == "" {
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
	if r.Device == "" {
		return strings.HasPrefix(line, "unreachable ")
	}
	words := " " + line + " "
	return strings.Contains(words, " dev "+r.Device+" ") && strings.Contains(words, " src "+r.Source+" ") && !strings.Contains(words, " via ")
}
