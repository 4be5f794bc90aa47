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

// Modules are kernel modules to load now and after a reboot. A built-in module counts
// as loaded.
type Modules struct {
	Names []string `json:"names"`
	// Optional modules are loaded if the kernel has them; else the log notes it.
	Optional []string `json:"optional,omitempty"`
	// File lists the modules for systemd-modules-load; default /etc/modules-load.d/offk8s.conf.
	File string `json:"file,omitempty"`
}

var moduleRE = strict.NewPattern(`^[A-Za-z0-9_-]+$`)

func (m *Modules) Kind() string { return "modules" }

func (m *Modules) Target() Target { return Target{File: m.File} }

func (m *Modules) Describe() string {
	return "kernel modules " + strings.Join(append(append([]string{}, m.Names...), m.Optional...), " ")
}

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

// modulesPrior is the previous list file, and the modules that Apply loaded.
type modulesPrior struct {
	File   filePrior `json:"file"`
	Loaded []string  `json:"loaded,omitempty"`
}

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
	if err := env.write(m.place(), strings.NewReader(m.content(k))); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "loaded", Prior: res.Prior}, nil
}

// Undo restores the list file. Loaded modules stay until the next boot, since other
// programs may use them by then.
func (m *Modules) Undo(_ context.Context, env *Env, raw json.RawMessage) error {
	var prior modulesPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("kernel modules: prior state: %w", err)
	}
	return env.restore(m.file(), priorJSON(prior.File))
}

// missing lists the modules that Apply must load. It leaves out optional modules that
// the host lacks, and logs them.
func (m *Modules) missing(k kernel) ([]string, error) {
	var out []string
	for _, n := range append(append([]string{}, m.Names...), m.Optional...) {
		ok, err := k.present(n)
		switch {
		case err != nil:
			return nil, err
		case ok:
		case slices.Contains(m.Optional, n) && !k.loadable(n):
			k.env.Log.Warn("kernel has no such module, continuing without it", "module", n)
		default:
			out = append(out, n)
		}
	}
	return out, nil
}

// content lists the modules to load at boot: only those of the module tree, since
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
