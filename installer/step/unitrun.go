package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// unitPrior is the unit as it was before.
type unitPrior struct {
	File    filePrior `json:"file"`
	Existed bool      `json:"existed"`
	Enabled bool      `json:"enabled,omitempty"`
	Running bool      `json:"running,omitempty"`
}

func (u *Unit) path() string { return "/etc/systemd/system/" + u.Name }

func (u *Unit) place() place { return place{path: u.path(), mode: 0o644} }

// stamp is what is remembered of a start: the unit file's digest and that of the triggers.
func (u *Unit) stamp(env *Env) (string, error) {
	d, err := env.filesDigest(u.Triggers)
	return digest.FromString(u.Content).Encoded() + " " + d, err
}

// Check compares unit file, enabling, state and the stamp of the last start.
func (u *Unit) Check(ctx context.Context, env *Env) (Result, error) {
	s, err := env.unitState(ctx, u.Name)
	if err != nil {
		return Result{}, err
	}
	if u.Stopped {
		return u.checkStopped(env, s)
	}
	if u.Content == "" && !s.exists() {
		return Result{}, fmt.Errorf("unit %q: systemd knows no such unit", u.Name)
	}
	reasons, err := u.reasons(env, s)
	if err != nil || len(reasons) == 0 {
		return Result{State: OK}, err
	}
	prior, err := u.prior(env, s)
	return Result{State: Differs, Reason: strings.Join(reasons, ", "), Prior: priorJSON(prior)}, err
}

func (u *Unit) reasons(env *Env, s unitState) ([]string, error) {
	var out []string
	if u.Content != "" {
		res, err := env.checkFile(u.place(), func(path string) (string, error) {
			have, err := env.ReadFile(path)
			if err != nil || string(have) == u.Content {
				return "", err
			}
			return "differs", nil
		})
		if err != nil {
			return nil, err
		}
		if res.State != OK {
			out = append(out, "unit file "+res.Reason)
		}
	}
	if s.stale && s.exists() {
		out = append(out, "systemd has not read the unit file yet")
	}
	if u.Enable && !s.enabled() {
		out = append(out, "not enabled")
	}
	if !u.Running {
		return out, nil
	}
	if !s.running() {
		return append(out, fmt.Sprintf("not running (%s)", strings.Trim(s.active+" "+s.sub, " "))), nil
	}
	stamp, err := u.stamp(env)
	if err == nil && env.Stamp(u.key()) != stamp {
		out = append(out, "runs with an older configuration")
	}
	return out, err
}

func (u *Unit) key() string { return "unit/" + u.Name }

func (u *Unit) checkStopped(env *Env, s unitState) (Result, error) {
	if !s.exists() {
		return Result{State: Skipped, Reason: "no such unit"}, nil
	}
	if !s.running() && s.file != "enabled" {
		return Result{State: OK}, nil
	}
	prior, err := u.prior(env, s)
	return Result{State: Differs, Reason: "is " + s.active + ", " + s.file, Prior: priorJSON(prior)}, err
}

func (u *Unit) prior(env *Env, s unitState) (unitPrior, error) {
	p := unitPrior{Existed: s.exists(), Enabled: s.file == "enabled", Running: s.running()}
	if u.Content == "" {
		return p, nil
	}
	var err error
	p.File, err = env.priorOf(u.path())
	return p, err
}

// Apply writes, enables and starts, restarts or reloads the unit.
func (u *Unit) Apply(ctx context.Context, env *Env) (Result, error) {
	s, err := env.unitState(ctx, u.Name)
	if err != nil {
		return Result{}, err
	}
	prior, err := u.prior(env, s)
	if err != nil {
		return Result{}, err
	}
	did, err := u.apply(ctx, env, s)
	if err != nil {
		return Result{Prior: priorJSON(prior)}, fmt.Errorf("unit %q: %w", u.Name, err)
	}
	return Result{State: Changed, Reason: did, Prior: priorJSON(prior)}, nil
}

func (u *Unit) apply(ctx context.Context, env *Env, s unitState) (string, error) {
	if u.Stopped {
		return "stopped", errors.Join(
			env.systemctl(ctx, "stop", "--", u.Name), env.systemctl(ctx, "disable", "--", u.Name))
	}
	if u.Content != "" {
		if _, err := env.put(u.place(), strings.NewReader(u.Content)); err != nil {
			return "", err
		}
	}
	if u.Content != "" || s.stale {
		if err := env.systemctl(ctx, "daemon-reload"); err != nil {
			return "", err
		}
	}
	if u.Enable && !s.enabled() {
		if err := env.systemctl(ctx, "enable", "--", u.Name); err != nil {
			return "", err
		}
	}
	if !u.Running {
		return "written", nil
	}
	return u.start(ctx, env, s)
}

// start brings the running unit up to date. The stamp is taken before, so that
// a file that changes meanwhile is seen as newer than the start.
func (u *Unit) start(ctx context.Context, env *Env, s unitState) (string, error) {
	stamp, err := u.stamp(env)
	if err != nil {
		return "", err
	}
	last := env.Stamp(u.key())
	content, _, _ := strings.Cut(stamp, " ")
	verb, did := "restart", "restarted"
	switch {
	case !s.running():
		verb, did = "start", "started"
		// A unit that failed too often is not started again before this.
		if s.active == "failed" || s.sub == "auto-restart" {
			verb, did = "restart", "restarted after failures"
			if err := env.systemctl(ctx, "reset-failed", "--", u.Name); err != nil {
				return "", err
			}
		}
	case last == stamp:
		return "enabled", nil
	case u.Reload && strings.HasPrefix(last, content+" "):
		verb, did = "reload", "reloaded"
	}
	args := []string{verb}
	if u.NoBlock {
		args = append(args, "--no-block")
	}
	if err := env.systemctl(ctx, append(args, "--", u.Name)...); err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", env.unitLog(ctx, u.Name, err)
	}
	return did, env.SetStamp(u.key(), stamp)
}

// forgetFailure removes what systemd remembers of a unit that failed, for
// example because it did not stop in time and was killed; without it the name
// stays in its list although the file is gone.
func (env *Env) forgetFailure(ctx context.Context, name string) error {
	s, err := env.unitState(ctx, name)
	if err != nil || s.active != "failed" {
		return err
	}
	return env.systemctl(ctx, "reset-failed", "--", name)
}

// Undo restores the unit file, or stops the unit and removes it.
func (u *Unit) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var prior unitPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("unit %q: prior state: %w", u.Name, err)
	}
	s, err := env.unitState(ctx, u.Name)
	if err != nil {
		return err
	}
	var errs []error
	do := func(args ...string) { errs = append(errs, env.systemctl(ctx, args...)) }
	if s.exists() {
		if !prior.Running && s.running() {
			do("stop", "--", u.Name)
		}
		if !prior.Enabled && s.file == "enabled" {
			do("disable", "--", u.Name)
		}
	}
	if u.Content != "" {
		errs = append(errs, env.restore(u.path(), priorJSON(prior.File)))
		do("daemon-reload")
		if !prior.Existed {
			errs = append(errs, env.forgetFailure(ctx, u.Name))
		}
	}
	if prior.Existed {
		if prior.Enabled && s.file != "enabled" {
			do("enable", "--", u.Name)
		}
		if prior.Running && env.After != nil {
			env.After([]string{"systemctl", "restart", "--", u.Name})
		}
	}
	return errors.Join(append(errs, env.SetStamp(u.key(), ""))...)
}
