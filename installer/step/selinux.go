package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// SELinux sets the security types of paths if SELinux is enabled. Where the policy has
// another type and the host has semanage, it changes the policy too, so that a relabel
// keeps the type.
type SELinux struct {
	Labels []Label `json:"labels,omitempty"`
	// Restore are paths that get the type that the policy has for them; a file that is
	// made has the type of its directory. Those that do not exist are left out.
	Restore []string `json:"restore,omitempty"`
}

// Label is the security type of a path.
type Label struct {
	Path string `json:"path"`
	Type string `json:"type"` // "container_runtime_exec_t", "bin_t"
	// Below extends the type to everything below Path.
	Below bool `json:"below,omitempty"`
}

var seTypeRE = strict.NewPattern(`^[a-z0-9_]+_t$`)

func (s *SELinux) Kind() string { return "selinux" }

func (s *SELinux) Describe() string {
	var w []string
	for _, l := range s.Labels {
		w = append(w, l.Path+"="+l.Type)
	}
	w = append(w, s.Restore...)
	return "selinux types " + strings.Join(w, " ")
}

// Validate refuses paths with characters, apart from the dot, that have a meaning
// in the policy's patterns.
func (s *SELinux) Validate() error {
	var errs []error
	for _, l := range s.Labels {
		errs = append(errs, checkPath("path", l.Path))
		if strings.ContainsAny(l.Path, `()[]{}*+?|^$\ `) {
			errs = append(errs, fmt.Errorf("path %q: pattern character", l.Path))
		}
		if !seTypeRE.MatchString(l.Type) {
			errs = append(errs, fmt.Errorf("type %q: not an SELinux type", l.Type))
		}
	}
	for _, p := range s.Restore {
		errs = append(errs, checkPath("path", p))
	}
	return errors.Join(errs...)
}

const selinuxFile = "/sys/fs/selinux/enforce"

// selinuxPrior lists the labels that Apply changed.
type selinuxPrior struct {
	Paths []string `json:"paths,omitempty"`
}

// SELinuxMode returns "enforcing", "permissive" or "disabled".
func SELinuxMode(env *Env) string {
	b, err := env.ReadFile(selinuxFile)
	switch {
	case err != nil:
		return "disabled"
	case strings.TrimSpace(string(b)) == "1":
		return "enforcing"
	}
	return "permissive"
}

func (s *SELinux) Check(ctx context.Context, env *Env) (Result, error) {
	if SELinuxMode(env) == "disabled" {
		return Result{State: Skipped, Reason: "SELinux is off"}, nil
	}
	wrong, err := s.wrong(ctx, env)
	if err != nil {
		return Result{}, err
	}
	moved, err := s.restore(ctx, env, "-n")
	if err != nil {
		return Result{}, err
	}
	excess := s.excess(env)
	if len(wrong)+len(excess)+len(moved) == 0 {
		return Result{State: OK}, nil
	}
	var prior selinuxPrior
	for _, l := range wrong {
		prior.Paths = append(prior.Paths, l.Path)
	}
	var reasons []string
	if len(wrong) > 0 {
		reasons = append(reasons, "type differs: "+strings.Join(prior.Paths, " "))
	}
	if len(moved) > 0 {
		reasons = append(reasons, "not as the policy: "+moved)
	}
	if len(excess) > 0 {
		reasons = append(reasons, "no longer wanted: "+strings.Join(excess, " "))
	}
	return Result{State: Differs, Reason: strings.Join(reasons, "; "), Prior: priorJSON(prior)}, nil
}

func (s *SELinux) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := s.Check(ctx, env)
	if err != nil || res.State != Differs {
		return res, err
	}
	wrong, err := s.wrong(ctx, env)
	if err != nil {
		return Result{}, err
	}
	for _, l := range wrong {
		if err := l.apply(ctx, env); err != nil {
			return Result{}, fmt.Errorf("label %q: %w", l.Path, err)
		}
	}
	if _, err := s.restore(ctx, env); err != nil {
		return Result{}, err
	}
	out := Result{State: Changed, Reason: "labelled", Prior: res.Prior}
	excess := s.excess(env)
	if len(excess) == 0 {
		return out, nil
	}
	for _, path := range excess {
		// The journal does not have the pattern.
		for _, l := range []Label{{Path: path}, {Path: path, Below: true}} {
			if err := l.undo(ctx, env); err != nil {
				return Result{}, fmt.Errorf("label %q: %w", path, err)
			}
		}
	}
	var rest selinuxPrior
	raw, err := s.MergePrior(env.Prior, res.Prior)
	if err == nil {
		err = json.Unmarshal(raw, &rest)
	}
	rest.Paths = slices.DeleteFunc(rest.Paths, func(p string) bool { return slices.Contains(excess, p) })
	out.Rest = priorJSON(rest)
	return out, err
}

// excess returns the paths that earlier runs of this step labelled and that no step
// wants labelled any more.
func (s *SELinux) excess(env *Env) []string {
	var p selinuxPrior
	if json.Unmarshal(env.Prior, &p) != nil {
		return nil
	}
	return slices.DeleteFunc(p.Paths, func(path string) bool {
		return s.has(path) || checkPath("path", path) != nil || keptHas(env, func(o *SELinux) bool { return o.has(path) })
	})
}

// Undo removes the types from the policy; remaining files get the policy's type.
func (s *SELinux) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var prior selinuxPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("selinux: prior state: %w", err)
	}
	if SELinuxMode(env) == "disabled" {
		return nil
	}
	var errs []error
	for _, l := range s.Labels {
		if slices.Contains(prior.Paths, l.Path) && !keptHas(env, func(o *SELinux) bool { return o.has(l.Path) }) {
			errs = append(errs, l.undo(ctx, env))
		}
	}
	return errors.Join(errs...)
}

func (s *SELinux) wrong(ctx context.Context, env *Env) ([]Label, error) {
	var out []Label
	for _, l := range s.Labels {
		if !env.exists(l.Path) {
			return nil, fmt.Errorf("label %q: no such file", l.Path)
		}
		if right, err := l.is(ctx, env); err != nil {
			return nil, err
		} else if !right {
			out = append(out, l)
		}
	}
	return out, nil
}

// is reports whether the path has the type.
func (l Label) is(ctx context.Context, env *Env) (bool, error) {
	res, err := env.Run.Run(ctx, Cmd{Argv: []string{"stat", "--format=%C", "--", env.Path(l.Path)}})
	// user:role:type:level
	f := strings.Split(strings.TrimSpace(string(res.Stdout)), ":")
	return len(f) > 2 && f[2] == l.Type, err
}

// restore sets the types of the policy, or with -n prints what it would change.
func (s *SELinux) restore(ctx context.Context, env *Env, opts ...string) (string, error) {
	var paths []string
	for _, p := range s.Restore {
		if env.exists(p) {
			paths = append(paths, env.Path(p))
		}
	}
	if len(paths) == 0 {
		return "", nil
	}
	argv := slices.Concat([]string{"restorecon"}, opts, []string{"-v", "--"}, paths)
	res, err := env.Run.Run(ctx, Cmd{Argv: argv, Timeout: slowTimeout})
	if _, missing := errors.AsType[*NotFoundError](err); missing {
		env.Log.Info("no restorecon on the host: files keep the types of their directories")
		return "", nil
	}
	return strings.TrimSpace(string(res.Stdout)), err
}

func (s *SELinux) has(path string) bool {
	return slices.ContainsFunc(s.Labels, func(l Label) bool { return l.Path == path })
}

// pattern returns the path as a regular expression of the policy.
func (l Label) pattern() string {
	p := strings.ReplaceAll(l.Path, ".", `\.`)
	if l.Below {
		p += "(/.*)?"
	}
	return p
}

// apply asks the policy for the type first, and changes the policy only if it has another.
func (l Label) apply(ctx context.Context, env *Env) error {
	err := l.run(ctx, env, "restorecon", "-F")
	if _, missing := errors.AsType[*NotFoundError](err); err != nil && !missing {
		return err
	}
	if right, err := l.is(ctx, env); right || err != nil {
		return err
	}
	_, err = env.Run.Run(ctx, Cmd{Argv: []string{"semanage", "fcontext", "-a", "-t", l.Type, l.pattern()}})
	exit, exited := errors.AsType[*ExitError](err)
	switch {
	case exited && strings.Contains(exit.Stderr, "equivalency"):
		env.Log.Info("the policy takes the path for another (semanage fcontext -l -C): a relabel would undo the type", "path", l.Path)
		return l.run(ctx, env, "chcon", "-t", l.Type)
	case exited: // the pattern has a rule already: modify it
		_, err = env.Run.Run(ctx, Cmd{Argv: []string{"semanage", "fcontext", "-m", "-t", l.Type, l.pattern()}})
	}
	if _, ok := errors.AsType[*NotFoundError](err); ok {
		env.Log.Info("no semanage on the host: a relabel would undo the type", "path", l.Path)
		return l.run(ctx, env, "chcon", "-t", l.Type)
	}
	if err != nil {
		return err
	}
	return l.run(ctx, env, "restorecon", "-F")
}

func (l Label) undo(ctx context.Context, env *Env) error {
	_, err := env.Run.Run(ctx, Cmd{Argv: []string{"semanage", "fcontext", "-d", l.pattern()}})
	_, exited := errors.AsType[*ExitError](err)
	_, notFound := errors.AsType[*NotFoundError](err)
	if err != nil && !exited && !notFound {
		return err
	}
	if !env.exists(l.Path) {
		return nil
	}
	return l.run(ctx, env, "restorecon", "-F")
}

func (l Label) run(ctx context.Context, env *Env, argv ...string) error {
	if l.Below {
		argv = append(argv, "-R")
	}
	_, err := env.Run.Run(ctx, Cmd{Argv: append(argv, "--", env.Path(l.Path)), Timeout: slowTimeout})
	return err
}

func (s *SELinux) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b selinuxPrior
	if err := unmarshalBoth(first, later, &a, &b); err != nil {
		return nil, err
	}
	a.Paths = union(a.Paths, b.Paths)
	return priorJSON(a), nil
}
