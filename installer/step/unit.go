package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Unit is a systemd unit: its file, whether it starts at boot and whether it runs.
//
// A running unit is restarted if its file or one of Triggers has changed since
// offk8s last started it, even if somebody else changed it: a stamp on the host
// holds their digest.
type Unit struct {
	Name string `json:"name"` // "etcd.service"
	// Content is the unit file in /etc/systemd/system, which only root reads. If it is empty, then the unit
	// comes from a package and only Enable, Running and Stopped count.
	Content string `json:"content,omitempty"`
	Enable  bool   `json:"enable,omitempty"`
	Running bool   `json:"running,omitempty"`
	// Stopped is the opposite of Enable and Running: disabled and not running. The
	// step is Skipped if the host has no such unit.
	Stopped bool `json:"stopped,omitempty"`
	// Triggers are files whose change requires a restart: configuration, certificates, the binary.
	Triggers []string `json:"triggers,omitempty"`
	// Reload reloads the unit instead of restarting it if only Triggers changed.
	Reload bool `json:"reload,omitempty"`
	// Package is the package of the unit, if an earlier step may install it. Some
	// distributions start what they install; Undo stops such a unit.
	Package string `json:"package,omitempty"`
	// NoBlock does not wait until the unit is ready, for members of a cluster, which
	// become ready only together; a later Wait step waits for them.
	NoBlock bool `json:"noBlock,omitempty"`
}

func (u *Unit) Kind() string { return "unit" }

func (u *Unit) Target() Target { return Target{Name: u.Name} }

func (u *Unit) Describe() string {
	var w []string
	for _, x := range []struct {
		on   bool
		word string
	}{{u.Content != "", "written"}, {u.Enable, "enabled"}, {u.Running, "running"}, {u.Stopped, "stopped"}} {
		if x.on {
			w = append(w, x.word)
		}
	}
	return fmt.Sprintf("unit %s %s", u.Name, strings.Join(w, ", "))
}

func (u *Unit) Validate() error {
	var errs []error
	if !unitName(u.Name) {
		errs = append(errs, fmt.Errorf("name %q: want a unit name such as %q", u.Name, "etcd.service"))
	}
	if u.Stopped && (u.Enable || u.Running || u.Content != "") {
		errs = append(errs, errors.New("stopped: excludes enable, running and content"))
	}
	for _, t := range u.Triggers {
		errs = append(errs, checkPath("trigger", t))
	}
	return errors.Join(errs...)
}

// unitName accepts names with a type suffix, see systemd.unit(5).
func unitName(n string) bool {
	dot := strings.LastIndexByte(n, '.')
	if dot < 1 || dot == len(n)-1 || n[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(n, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune(":-_.\\@", r))
	})
}

// unitPrior is the unit before the step.
type unitPrior struct {
	File    filePrior `json:"file"`
	Existed bool      `json:"existed"`
	Enabled bool      `json:"enabled,omitempty"`
	Running bool      `json:"running,omitempty"`
}

func (u *Unit) path() string { return unitDir + u.Name }

func (u *Unit) place() place { return place{path: u.path(), mode: 0o600} }

// stamp identifies the unit that was started: the digests of its file and its triggers.
func (u *Unit) stamp(env *Env) (string, error) {
	d, err := env.filesDigest(u.Triggers)
	return digest.FromString(u.Content).Encoded() + " " + d, err
}

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
	// A restart that nobody waits for stops the unit first, and a start waits for others, such
	// as for network-online.target, which may take a minute when it was not reached before.
	starts := u.NoBlock && (s.active == "deactivating" || s.active == "inactive" && s.queued)
	if !s.running() && !starts {
		return append(out, fmt.Sprintf("not running (%s)", strings.Trim(s.active+" "+s.sub, " "))), nil
	}
	stamp, err := u.stamp(env)
	if err == nil && env.Stamp(u.key()) != stamp {
		out = append(out, "runs with an older configuration")
	}
	return out, err
}

func isDropIn(trigger string) bool { return strings.HasPrefix(trigger, unitDir) }

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
	if u.Package != "" && env.Stamp(packageStamp(u.Package)) != "" {
		p.Enabled, p.Running = false, false
	}
	if u.Content == "" {
		return p, nil
	}
	var err error
	p.File, err = env.priorOf(u.path())
	return p, err
}

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
		if err := env.write(u.place(), strings.NewReader(u.Content)); err != nil {
			return "", err
		}
	}
	// systemd does not say that it has not read a new drop-in: its list of directories is
	// an older one.
	if u.Content != "" || s.stale || slices.ContainsFunc(u.Triggers, isDropIn) {
		if err := env.systemctl(ctx, "daemon-reload"); err != nil {
			return "", err
		}
	}
	if s.file == "masked-runtime" { // by Packages, which was interrupted
		if err := env.systemctl(ctx, "unmask", "--runtime", "--", u.Name); err != nil {
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

// start starts, restarts or reloads the unit. It computes the stamp first, so that a
// file that changes meanwhile counts as newer than the start.
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
		// systemd refuses to start a unit that failed too often until it is reset.
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

// resetFailed makes systemd forget the failure of a unit, such as one that had to be
// killed because it did not stop in time. Otherwise the name stays in its list
// although the file is gone.
func (env *Env) resetFailed(ctx context.Context, name string) error {
	s, err := env.unitState(ctx, name)
	if err != nil || s.active != "failed" {
		return err
	}
	return env.systemctl(ctx, "reset-failed", "--", name)
}

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
			errs = append(errs, env.resetFailed(ctx, u.Name))
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
