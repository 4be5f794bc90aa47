package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Sysctl are kernel settings, now and after a reboot. Undo restores the values
// that were set before.
type Sysctl struct {
	Values map[string]string `json:"values"` // "net.ipv4.ip_forward": "1"
	// File is where they are kept; default /etc/sysctl.d/99-zz-offk8s.conf, which
	// is read after 99-sysctl.conf, the usual link to /etc/sysctl.conf.
	File string `json:"file,omitempty"`
}

var sysctlRE = regexp.MustCompile(`^[a-z0-9_]+([./][A-Za-z0-9_*-]+)+$`)

// Kind returns "sysctl".
func (s *Sysctl) Kind() string { return "sysctl" }

func (s *Sysctl) Target() Target { return Target{File: s.File} }

// Describe lists the settings, sorted.
func (s *Sysctl) Describe() string {
	var w []string
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		w = append(w, k+"="+s.Values[k])
	}
	return "sysctl " + strings.Join(w, " ")
}

// Validate checks names and values.
func (s *Sysctl) Validate() error {
	errs := []error{checkPath("file", s.file())}
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		if !sysctlRE.MatchString(k) || strings.Contains(k, "*") {
			errs = append(errs, fmt.Errorf("setting %q: not a sysctl name", k))
		}
		errs = append(errs, checkLine("value", s.Values[k]))
	}
	return errors.Join(errs...)
}

func (s *Sysctl) file() string {
	if s.File == "" {
		return "/etc/sysctl.d/99-zz-offk8s.conf"
	}
	return s.File
}

// sysctlPrior is the former file and the former values by name.
type sysctlPrior struct {
	File   filePrior         `json:"file"`
	Values map[string]string `json:"values,omitempty"`
}

// Check compares the file and the kernel's values.
func (s *Sysctl) Check(_ context.Context, env *Env) (Result, error) {
	prior := sysctlPrior{Values: map[string]string{}}
	var reasons []string
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		have, err := env.ReadFile(sysctlPath(k))
		switch {
		case absent(err):
			reasons = append(reasons, k+" is not known to the kernel")
			continue
		case err != nil:
			return Result{}, err
		}
		if !sameFields(string(have), s.Values[k]) {
			prior.Values[k] = strings.TrimSpace(string(have))
			reasons = append(reasons, fmt.Sprintf("%s is %s", k, prior.Values[k]))
		}
	}
	res, err := env.checkFile(s.place(), func(path string) (string, error) {
		have, err := env.ReadFile(path)
		if err != nil || string(have) == s.content() {
			return "", err
		}
		return "content differs", nil
	})
	if err != nil || (res.State == OK && len(reasons) == 0) {
		return res, err
	}
	if res.State != OK {
		reasons = append(reasons, s.file()+" "+res.Reason)
	}
	if prior.File, err = env.priorOf(s.file()); err != nil {
		return Result{}, err
	}
	return Result{State: Differs, Reason: strings.Join(reasons, ", "), Prior: priorJSON(prior)}, nil
}

// Apply writes the file and sets the values. A setting that the kernel does not
// know is an error: its module is not loaded.
func (s *Sysctl) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := s.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	if _, err := env.put(s.place(), strings.NewReader(s.content())); err != nil {
		return Result{}, err
	}
	if err := setSysctls(env, s.Values); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "set", Prior: res.Prior}, nil
}

// Undo restores the file and the values that were changed.
func (s *Sysctl) Undo(_ context.Context, env *Env, raw json.RawMessage) error {
	var prior sysctlPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("sysctl: prior state: %w", err)
	}
	for k := range prior.Values {
		if !sysctlRE.MatchString(k) {
			return fmt.Errorf("sysctl: prior state: setting %q: not a sysctl name", k)
		}
	}
	return errors.Join(env.restore(s.file(), priorJSON(prior.File)), setSysctls(env, prior.Values))
}

func setSysctls(env *Env, values map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if have, err := env.ReadFile(sysctlPath(k)); err == nil && sameFields(string(have), values[k]) {
			continue
		}
		f, err := os.OpenFile(env.Path(sysctlPath(k)), os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return fmt.Errorf("set %s: %w", k, err)
		}
		_, err = f.WriteString(values[k] + "\n")
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("set %s to %q: %w", k, values[k], err)
		}
	}
	return nil
}

func (s *Sysctl) content() string {
	out := "# written by offk8s\n"
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		out += k + " = " + s.Values[k] + "\n"
	}
	return out
}

func (s *Sysctl) place() place { return place{path: s.file(), mode: 0o644} }

// sysctlPath is the setting's file. As in sysctl(8), a name whose first
// separator is a slash has dots that are part of names.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return "/proc/sys/" + name
}

// sameFields compares values as the kernel does not care for the kind of space.
func sameFields(a, b string) bool { return slices.Equal(strings.Fields(a), strings.Fields(b)) }
