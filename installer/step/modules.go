package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Modules are kernel modules that are loaded now and after a reboot. What the
// kernel has built in counts as loaded.
type Modules struct {
	Names []string `json:"names"`
	// Optional ones are tried and only noted when the kernel lacks them.
	Optional []string `json:"optional,omitempty"`
	// File lists them for systemd-modules-load; default /etc/modules-load.d/offk8s.conf.
	File string `json:"file,omitempty"`
}

var moduleRE = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Kind returns "modules".
func (m *Modules) Kind() string { return "modules" }

func (m *Modules) Target() Target { return Target{File: m.File} }

// Describe lists the modules.
func (m *Modules) Describe() string {
	return "kernel modules " + strings.Join(append(append([]string{}, m.Names...), m.Optional...), " ")
}

// Validate checks the names.
func (m *Modules) Validate() error {
	var errs []error
	for _, n := range append(append([]string{}, m.Names...), m.Optional...) {
		if !moduleRE.MatchString(n) || n[0] == '-' {
			errs = append(errs, fmt.Errorf("module %q: not a module name", n))
		}
	}
	return errors.Join(append(errs, checkPath("file", m.file()))...)
}

func (m *Modules) file() string {
	if m.File == "" {
		return "/etc/modules-load.d/offk8s.conf"
	}
	return m.File
}

// modulesPrior is the former list file and what was loaded by this step.
type modulesPrior struct {
	File   filePrior `json:"file"`
	Loaded []string  `json:"loaded,omitempty"`
}

// Check looks at what is loaded or built in, and at the list file.
func (m *Modules) Check(_ context.Context, env *Env) (Result, error) {
	k, err := env.kernel()
	if err != nil {
		return Result{}, err
	}
	missing, err := m.missing(k)
	if err != nil {
		return Result{}, err
	}
	res, err := env.checkFile(m.place(), m.same(env, k))
	if err != nil || (res.State == OK && len(missing) == 0) {
		return res, err
	}
	prior := modulesPrior{Loaded: missing}
	if res.State != OK {
		if err := json.Unmarshal(res.Prior, &prior.File); err != nil {
			return Result{}, err
		}
	} else if prior.File, err = env.priorOf(m.file()); err != nil {
		return Result{}, err
	}
	reason := m.file() + " " + res.Reason
	if len(missing) > 0 {
		reason = "not loaded: " + strings.Join(missing, " ")
	}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(prior)}, nil
}

// Apply writes the list file and loads what is missing.
func (m *Modules) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := m.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	k, err := env.kernel()
	if err != nil {
		return Result{}, err
	}
	missing, err := m.missing(k)
	if err != nil {
		return Result{}, err
	}
	for _, n := range missing {
		if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"modprobe", "--", n}}); err != nil {
			return Result{}, fmt.Errorf("load kernel module %q: %w", n, err)
		}
	}
	if _, err := env.put(m.place(), strings.NewReader(m.content(k))); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "loaded", Prior: res.Prior}, nil
}

// Undo restores the list file; modules that are loaded stay until the next boot,
// since others may use them by now.
func (m *Modules) Undo(_ context.Context, env *Env, raw json.RawMessage) error {
	var prior modulesPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("kernel modules: prior state: %w", err)
	}
	return env.restore(m.file(), priorJSON(prior.File))
}

// missing lists what Apply must load. An optional module that the host does not
// have is left out, with a word about it.
func (m *Modules) missing(k kernel) ([]string, error) {
	var out []string
	for _, n := range append(append([]string{}, m.Names...), m.Optional...) {
		ok, err := k.present(n)
		switch {
		case err != nil:
			return nil, err
		case ok:
		case slices.Contains(m.Optional, n) && !k.loadable(n):
			k.env.Log.Warn("kernel has no such module, going on without it", "module", n)
		default:
			out = append(out, n)
		}
	}
	return out, nil
}

// content lists what a boot has to load: only what the module tree has, since
// systemd-modules-load fails on others.
func (m *Modules) content(k kernel) string {
	out := "# written by offk8s\n"
	for _, n := range append(append([]string{}, m.Names...), m.Optional...) {
		if k.loadable(n) {
			out += n + "\n"
		}
	}
	return out
}

func (m *Modules) same(env *Env, k kernel) func(string) (string, error) {
	return func(path string) (string, error) {
		have, err := env.ReadFile(path)
		if err != nil || string(have) == m.content(k) {
			return "", err
		}
		return "content differs", nil
	}
}

func (m *Modules) place() place { return place{path: m.file(), mode: 0o644} }
