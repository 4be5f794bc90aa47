package step

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Swap disables swap, now and after a reboot, since the kubelet refuses to start with
// it. It comments out the swap lines of /etc/fstab, and masks the units that enable
// other swap at boot: swap units of the administrator, of a GPT partition table or of
// zram-generator, and services for zram or swap files. Undo restores all of it.
type Swap struct{}

const (
	fstabFile  = "/etc/fstab"
	swapsFile  = "/proc/swaps"
	swapPrefix = "#offk8s# "
)

// swapPrior is the swap that Undo enables again.
type swapPrior struct {
	Devices []string   `json:"devices,omitempty"` // in use, such as "/dev/sda3"
	Units   []swapUnit `json:"units,omitempty"`   // to mask
}

func (s *Swap) Kind() string { return "swap" }

func (s *Swap) Describe() string { return "swap off" }

func (s *Swap) Validate() error { return nil }

func (s *Swap) Check(ctx context.Context, env *Env) (Result, error) {
	prior, lines, err := s.state(ctx, env)
	if err != nil {
		return Result{}, err
	}
	var reasons []string
	if len(prior.Devices) > 0 {
		reasons = append(reasons, "in use: "+strings.Join(prior.Devices, " "))
	}
	if lines > 0 {
		reasons = append(reasons, fmt.Sprintf("%d lines in %s", lines, fstabFile))
	}
	if len(prior.Units) > 0 {
		reasons = append(reasons, "at boot: "+strings.Join(names(prior.Units), " "))
	}
	if len(reasons) == 0 {
		return Result{State: OK}, nil
	}
	return Result{State: Differs, Reason: strings.Join(reasons, ", "), Prior: priorJSON(prior)}, nil
}

// state returns the swap of the host and the number of swap lines in /etc/fstab.
func (s *Swap) state(ctx context.Context, env *Env) (swapPrior, int, error) {
	on, err := env.swaps()
	if err != nil {
		return swapPrior{}, 0, err
	}
	_, specs, err := s.fstab(env)
	if err != nil {
		return swapPrior{}, 0, err
	}
	var others []string // in use and not from fstab
	for _, d := range on {
		if !slices.ContainsFunc(specs, func(spec string) bool { return env.isDevice(spec, d) }) {
			others = append(others, d)
		}
	}
	units, err := env.swapUnits(ctx, others)
	return swapPrior{on, units}, len(specs), err
}

// Apply masks the units before it disables swap, so that nothing enables it again
// meanwhile.
func (s *Swap) Apply(ctx context.Context, env *Env) (Result, error) {
	prior, lines, err := s.state(ctx, env)
	if err != nil {
		return Result{}, err
	}
	if lines > 0 {
		text, _, err := s.fstab(env)
		if err != nil {
			return Result{}, err
		}
		if err := s.writeFstab(ctx, env, text); err != nil {
			return Result{}, err
		}
	}
	for _, u := range prior.Units {
		if err := u.mask(ctx, env); err != nil {
			return Result{}, err
		}
	}
	if len(prior.Devices) > 0 {
		if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"swapoff", "-a"}, Timeout: slowTimeout}); err != nil {
			return Result{}, fmt.Errorf("switch swap off: %w", err)
		}
	}
	return Result{State: Changed, Reason: "switched off", Prior: priorJSON(prior)}, nil
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
		if err := s.writeFstab(ctx, env, out.String()); err != nil {
			return err
		}
	}
	if err := env.unmask(ctx, prior.Units); err != nil {
		return err
	}
	on, err := env.swaps()
	if err != nil {
		return err
	}
	for _, d := range prior.Devices {
		if slices.Contains(on, d) {
			continue // a unit has enabled it
		}
		_, err := env.Run.Run(ctx, Cmd{Argv: []string{"swapon", "--", d}})
		if err != nil && ctx.Err() == nil && !env.exists(d) {
			env.Log.Warn("swap device no longer exists", "device", d)
			continue
		}
		if err != nil {
			return fmt.Errorf("switch swap %q on: %w", d, err)
		}
	}
	return nil
}

// MergePrior keeps the swap that a later run finds, such as that of a new disk.
func (s *Swap) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b swapPrior
	if err := unmarshalBoth(first, later, &a, &b); err != nil {
		return nil, err
	}
	a.Devices = union(a.Devices, b.Devices)
	for _, u := range b.Units {
		if !slices.Contains(names(a.Units), u.Name) {
			a.Units = append(a.Units, u)
		}
	}
	return priorJSON(a), nil
}

// fstab returns the file with its swap lines commented out, and the first field of
// these lines, "/dev/sda3" or "UUID=…".
func (s *Swap) fstab(env *Env) (text string, specs []string, err error) {
	b, err := env.ReadFile(fstabFile)
	if err != nil && !absent(err) {
		return "", nil, err
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "swap" && f[0][0] != '#' {
			out.WriteString(swapPrefix)
			specs = append(specs, unescapeMount(f[0]))
		}
		out.WriteString(line)
	}
	return out.String(), specs, nil
}

// isDevice reports whether spec, the first field of a line in /etc/fstab, is the swap
// device or file.
func (e *Env) isDevice(spec, device string) bool {
	if tag, value, ok := strings.Cut(spec, "="); ok {
		spec = "/dev/disk/by-" + strings.ToLower(tag) + "/" + strings.Trim(value, `"`)
	}
	path, err := filepath.EvalSymlinks(e.Path(spec))
	return spec == device || err == nil && path == e.Path(device)
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
			out = append(out, unescapeMount(f[0]))
		}
	}
	return out, nil
}

// writeFstab makes systemd read the new lines too, since it would enable the swap of
// the old ones again when their device changes.
func (s *Swap) writeFstab(ctx context.Context, env *Env, text string) error {
	now, err := env.stat(fstabFile)
	if err != nil {
		return err
	}
	if err := env.edit(fstabFile, now, text); err != nil {
		return err
	}
	return env.daemonReload(ctx)
}
