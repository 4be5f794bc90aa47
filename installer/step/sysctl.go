package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Sysctl are kernel settings, now and after a reboot. Undo restores the previous
// values.
type Sysctl struct {
	Values map[string]string `json:"values"` // "net.ipv4.ip_forward": "1"
	// File keeps the settings; default /etc/sysctl.d/99-zz-offk8s.conf, which is read
	// after 99-sysctl.conf, usually a link to /etc/sysctl.conf.
	File string `json:"file,omitempty"`
}

func (s *Sysctl) Kind() string { return "sysctl" }

func (s *Sysctl) Target() Target { return Target{File: s.File} }

func (s *Sysctl) Describe() string {
	var w []string
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		w = append(w, k+"="+s.Values[k])
	}
	return "sysctl " + strings.Join(w, " ")
}

func (s *Sysctl) Validate() error {
	errs := []error{checkPath("file", s.file())}
	for _, k := range slices.Sorted(maps.Keys(s.Values)) {
		if !strict.IsSysctl(k) {
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

// sysctlPrior is the previous file and the previous values by name. The file is nil in
// what a step with another file has taken over.
type sysctlPrior struct {
	File   *filePrior        `json:"file,omitempty"`
	Values map[string]string `json:"values,omitempty"`
}

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
	for _, k := range slices.Sorted(maps.Keys(s.excess(env))) {
		reasons = append(reasons, k+" is no longer wanted")
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
	file, err := env.priorOf(s.file())
	if err != nil {
		return Result{}, err
	}
	prior.File = &file
	return Result{State: Differs, Reason: strings.Join(reasons, ", "), Prior: priorJSON(prior)}, nil
}

// Apply fails if the kernel does not know a setting: its module is not loaded.
func (s *Sysctl) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := s.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	if err := env.write(s.place(), strings.NewReader(s.content())); err != nil {
		return Result{}, err
	}
	if err := setSysctls(env, s.Values); err != nil {
		return Result{}, err
	}
	out := Result{State: Changed, Reason: "set", Prior: res.Prior}
	excess := s.excess(env)
	if len(excess) == 0 {
		return out, nil
	}
	known := maps.Clone(excess)
	maps.DeleteFunc(known, func(k, _ string) bool { return !env.exists(sysctlPath(k)) })
	if err := setSysctls(env, known); err != nil {
		return Result{}, err
	}
	var rest sysctlPrior
	raw, err := s.MergePrior(env.Prior, res.Prior)
	if err == nil {
		err = json.Unmarshal(raw, &rest)
	}
	maps.DeleteFunc(rest.Values, func(k, _ string) bool { _, ok := excess[k]; return ok })
	out.Rest = priorJSON(rest)
	return out, err
}

// excess returns the former values of the settings that earlier runs of this step
// changed and that no step wants any more.
func (s *Sysctl) excess(env *Env) map[string]string {
	var p sysctlPrior
	if json.Unmarshal(env.Prior, &p) != nil {
		return nil
	}
	maps.DeleteFunc(p.Values, func(k, _ string) bool {
		return s.Values[k] != "" || !strict.IsSysctl(k) || keptHas(env, func(o *Sysctl) bool { return o.Values[k] != "" })
	})
	return p.Values
}

func (s *Sysctl) Undo(_ context.Context, env *Env, raw json.RawMessage) error {
	var prior sysctlPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("sysctl: prior state: %w", err)
	}
	for k := range prior.Values {
		if !strict.IsSysctl(k) {
			return fmt.Errorf("sysctl: prior state: setting %q: not a sysctl name", k)
		}
		if keptHas(env, func(o *Sysctl) bool { return o.Values[k] != "" }) {
			delete(prior.Values, k)
		}
	}
	if prior.File != nil {
		if err := env.restore(s.file(), priorJSON(prior.File)); err != nil {
			return err
		}
	}
	return setSysctls(env, prior.Values)
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

// sysctlPath returns the file of a setting. As in sysctl(8), dots are part of names if
// the first separator is a slash.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return "/proc/sys/" + name
}

// sameFields compares values like the kernel, for which all white space is the same.
func sameFields(a, b string) bool { return slices.Equal(strings.Fields(a), strings.Fields(b)) }

// MergePrior keeps each setting's first value.
func (s *Sysctl) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b sysctlPrior
	if err := unmarshalBoth(first, later, &a, &b); err != nil {
		return nil, err
	}
	if a.File == nil {
		a.File = b.File
	}
	for k, v := range b.Values {
		if _, ok := a.Values[k]; !ok {
			if a.Values == nil {
				a.Values = map[string]string{}
			}
			a.Values[k] = v
		}
	}
	return priorJSON(a), nil
}
