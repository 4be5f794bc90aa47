package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// SELinuxBoolean switches a boolean of the SELinux policy, now and after a restart, if
// SELinux is enabled and its policy has the boolean.
type SELinuxBoolean struct {
	Name  string `json:"name"` // "haproxy_connect_any"
	Value bool   `json:"value"`
}

var seBooleanRE = strict.NewPattern(`^[a-z][a-z0-9_]*$`)

func (s *SELinuxBoolean) Kind() string { return "selinux-boolean" }

func (s *SELinuxBoolean) Target() Target { return Target{Name: s.Name} }

func (s *SELinuxBoolean) Describe() string { return "selinux boolean " + s.Name + " " + onOff(s.Value) }

func (s *SELinuxBoolean) Validate() error {
	if !seBooleanRE.MatchString(s.Name) {
		return fmt.Errorf("name %q: not an SELinux boolean", s.Name)
	}
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// selinuxBooleanPrior is the value before.
type selinuxBooleanPrior struct {
	Value bool `json:"value"`
}

// active returns the value that the kernel uses, and whether the policy has the boolean.
// The file holds the active and the pending value, "0 1".
func (s *SELinuxBoolean) active(env *Env) (value, exists bool, err error) {
	b, err := env.ReadFile("/sys/fs/selinux/booleans/" + s.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	return strings.HasPrefix(string(b), "1"), err == nil, err
}

func (s *SELinuxBoolean) Check(_ context.Context, env *Env) (Result, error) {
	if SELinuxMode(env) == "disabled" {
		return Result{State: Skipped, Reason: "SELinux is off"}, nil
	}
	value, exists, err := s.active(env)
	switch {
	case err != nil:
		return Result{}, err
	case !exists:
		return Result{State: Skipped, Reason: "the SELinux policy has no boolean " + s.Name}, nil
	case value == s.Value:
		return Result{State: OK}, nil
	}
	return Result{State: Differs, Reason: "it is " + onOff(value), Prior: priorJSON(selinuxBooleanPrior{value})}, nil
}

func (s *SELinuxBoolean) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := s.Check(ctx, env)
	if err != nil || res.State != Differs {
		return res, err
	}
	if err := s.set(ctx, env, s.Value); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "switched " + onOff(s.Value), Prior: res.Prior}, nil
}

func (s *SELinuxBoolean) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	prior := selinuxBooleanPrior{Value: s.Value}
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("selinux boolean %q: prior state: %w", s.Name, err)
	}
	if SELinuxMode(env) == "disabled" || prior.Value == s.Value ||
		keptHas(env, func(o *SELinuxBoolean) bool { return o.Name == s.Name }) {
		return nil
	}
	value, exists, err := s.active(env)
	if err != nil || !exists || value == prior.Value {
		return err
	}
	return s.set(ctx, env, prior.Value)
}

func (s *SELinuxBoolean) set(ctx context.Context, env *Env, on bool) error {
	// With -P the policy is built again, which takes a while on a slow host.
	_, err := env.Run.Run(ctx, Cmd{Argv: []string{"setsebool", "-P", s.Name, onOff(on)}})
	if err != nil {
		return fmt.Errorf("selinux boolean %q: %w", s.Name, err)
	}
	return nil
}
