package step

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Swap disables swap, now and after a reboot, since the kubelet refuses to start with
// it. It comments out the lines of /etc/fstab; Undo restores them.
type Swap struct{}

const (
	fstabFile  = "/etc/fstab"
	swapsFile  = "/proc/swaps"
	swapPrefix = "#offk8s# "
)

// swapPrior lists the swap devices that Undo enables again.
type swapPrior struct {
	Devices []string `json:"devices,omitempty"`
}

func (s *Swap) Kind() string { return "swap" }

func (s *Swap) Describe() string { return "swap off" }

func (s *Swap) Validate() error { return nil }

func (s *Swap) Check(_ context.Context, env *Env) (Result, error) {
	on, err := env.swaps()
	if err != nil {
		return Result{}, err
	}
	_, lines, err := s.fstab(env)
	if err != nil {
		return Result{}, err
	}
	if len(on) == 0 && lines == 0 {
		return Result{State: OK}, nil
	}
	reason := fmt.Sprintf("%d lines in %s", lines, fstabFile)
	if len(on) > 0 {
		reason = "in use: " + strings.Join(on, " ")
	}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(swapPrior{on})}, nil
}

func (s *Swap) Apply(ctx context.Context, env *Env) (Result, error) {
	on, err := env.swaps()
	if err != nil {
		return Result{}, err
	}
	text, lines, err := s.fstab(env)
	if err != nil {
		return Result{}, err
	}
	if lines > 0 {
		if err := s.writeFstab(env, text); err != nil {
			return Result{}, err
		}
	}
	if len(on) > 0 {
		if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"swapoff", "-a"}}); err != nil {
			return Result{}, fmt.Errorf("switch swap off: %w", err)
		}
	}
	return Result{State: Changed, Reason: "switched off", Prior: priorJSON(swapPrior{on})}, nil
}

func (s *Swap) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var prior swapPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("swap: prior state: %w", err)
	}
	text, err := env.ReadFile(fstabFile)
	if err != nil && !absent(err) {
		return err
	}
	if strings.Contains(string(text), swapPrefix) {
		var out strings.Builder
		for line := range strings.Lines(string(text)) {
			out.WriteString(strings.TrimPrefix(line, swapPrefix))
		}
		if err := s.writeFstab(env, out.String()); err != nil {
			return err
		}
	}
	for _, d := range prior.Devices {
		if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"swapon", "--", d}}); err != nil {
			return fmt.Errorf("switch swap %q on: %w", d, err)
		}
	}
	return nil
}

// fstab returns the file with its swap lines commented out, and the number of them.
func (s *Swap) fstab(env *Env) (string, int, error) {
	b, err := env.ReadFile(fstabFile)
	if err != nil && !absent(err) {
		return "", 0, err
	}
	var out strings.Builder
	n := 0
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "swap" && f[0][0] != '#' {
			out.WriteString(swapPrefix)
			n++
		}
		out.WriteString(line)
	}
	return out.String(), n, nil
}

// swaps lists the swap devices and files in use. The first line of the file is a header.
func (e *Env) swaps() ([]string, error) {
	b, err := e.ReadFile(swapsFile)
	if absent(err) {
		return nil, nil // a kernel without swap
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 0 {
			out = append(out, f[0])
		}
	}
	return out, nil
}

func (s *Swap) writeFstab(env *Env, text string) error {
	now, err := env.stat(fstabFile)
	if err != nil {
		return err
	}
	return env.edit(fstabFile, now, text)
}
