package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// swapTarget starts the swap units at boot. systemd names the unit of a GPT partition
// after its disk, whose name may be another after a reboot, so that the target has to
// be masked too. On EL7, other units start swap units without the target.
const swapTarget = "swap.target"

// swapServices enable swap at boot without a swap unit, by swapon.
var swapServices = []string{
	"zramswap.service",       // Debian, zram-tools
	"zram-config.service",    // Ubuntu
	"zram-swap.service",      // Fedora, EPEL
	"dphys-swapfile.service", // Raspberry Pi OS
	"swapspace.service",
}

// swapUnit is a unit that Swap masks.
type swapUnit struct {
	Name string `json:"name"` // "dev-zram0.swap"
	// Start reports that the unit was active and that systemd can start it again.
	Start bool `json:"start,omitempty"`
	// File is the unit file below /etc, in whose place the mask goes.
	File *filePrior `json:"file,omitempty"`
	// Link is the target of a symbolic link there instead.
	Link string `json:"link,omitempty"`
}

func names(units []swapUnit) []string {
	var out []string
	for _, u := range units {
		out = append(out, u.Name)
	}
	return out
}

// swapAsked are the units that Swap asks for: the pattern stands for all swap units that
// systemd has loaded, which are those that another unit wants at boot, active or not.
var swapAsked = append(slices.Clone(swapServices), swapTarget, "*.swap")

// swapUnits returns the units to mask so that no swap starts at boot, except for those
// of /etc/fstab. others are the devices in use that are not in this file.
func (e *Env) swapUnits(ctx context.Context, others []string) ([]swapUnit, error) {
	states, err := e.unitStates(ctx, swapAsked...)
	if _, none := errors.AsType[*NotFoundError](err); none {
		return nil, nil // no systemd, no units
	}
	if err != nil {
		return nil, err
	}
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(states)), func(n string) bool { return !strings.HasSuffix(n, ".swap") })
	var inUse []string
	for _, d := range others {
		inUse = append(inUse, swapUnitName(d))
	}
	if more := slices.DeleteFunc(slices.Clone(inUse), func(n string) bool { return slices.Contains(known, n) }); len(more) > 0 {
		others, err := e.askUnits(ctx, more)
		if err != nil {
			return nil, err
		}
		maps.Copy(states, others)
	}
	var out []swapUnit
	for _, name := range slices.Concat(union(known, inUse), swapServices) {
		s := states[name]
		if s.masked() || s.source == fstabFile {
			continue
		}
		if !slices.Contains(inUse, name) && !s.startsAtBoot() {
			continue
		}
		u, err := e.swapUnit(name, s)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	if len(out) > 0 && !states[swapTarget].masked() {
		out = append(out, swapUnit{Name: swapTarget})
	}
	return out, nil
}

func (e *Env) swapUnit(name string, s unitState) (swapUnit, error) {
	u := swapUnit{Name: name, Start: s.up() && s.fragment != ""}
	st, err := os.Lstat(e.Path(unitDir + name))
	switch {
	case absent(err):
		return u, nil
	case err != nil:
		return u, err
	case st.Mode()&fs.ModeSymlink != 0:
		u.Link, err = os.Readlink(e.Path(unitDir + name))
		return u, err
	}
	prior, err := e.priorOf(unitDir + name)
	u.File = &prior
	return u, err
}

// mask masks the unit. systemctl refuses to replace a unit file by the mask.
func (u swapUnit) mask(ctx context.Context, env *Env) error {
	if u.Start && strings.HasSuffix(u.Name, ".service") {
		// Its ExecStop is lost once it is masked.
		if err := env.systemctl(ctx, "stop", "--", u.Name); err != nil {
			return fmt.Errorf("stop %q: %w", u.Name, err)
		}
	}
	if u.File != nil {
		if err := env.backUp(unitDir+u.Name, *u.File); err != nil {
			return err
		}
	}
	if u.File != nil || u.Link != "" {
		if err := os.Remove(env.Path(unitDir + u.Name)); err != nil && !absent(err) {
			return err
		}
	}
	if err := env.systemctl(ctx, "mask", "--", u.Name); err != nil {
		return fmt.Errorf("mask %q: %w", u.Name, err)
	}
	return nil
}

// unmask restores units and starts those that were active.
func (e *Env) unmask(ctx context.Context, units []swapUnit) error {
	if len(units) == 0 {
		return nil
	}
	for _, u := range units {
		if err := e.systemctl(ctx, "unmask", "--", u.Name); err != nil {
			return fmt.Errorf("unmask %q: %w", u.Name, err)
		}
		path := unitDir + u.Name
		var err error
		switch {
		case u.File != nil:
			err = e.restore(path, priorJSON(u.File))
		case u.Link != "":
			err = replaceLink(e.Path(path), u.Link)
		}
		if err != nil {
			return err
		}
	}
	if err := e.daemonReload(ctx); err != nil {
		return err
	}
	states, err := e.askUnits(ctx, names(units))
	if err != nil {
		return err
	}
	for _, u := range units {
		switch {
		case !u.Start || states[u.Name].up():
		case states[u.Name].fragment == "":
			e.Log.Warn("unit no longer exists", "unit", u.Name)
		default:
			if err := e.systemctl(ctx, "start", "--", u.Name); err != nil {
				return fmt.Errorf("start %q: %w", u.Name, err)
			}
		}
	}
	return nil
}

// masked reports whether the unit is masked for good.
func (s unitState) masked() bool {
	return s.file == "masked" || s.load == "masked" && s.file != "masked-runtime"
}

// startsAtBoot reports whether the unit may start at boot or is active. A disabled unit
// that is not active stays as it is.
func (s unitState) startsAtBoot() bool {
	return s.fragment != "" && (s.up() || s.file != "disabled")
}

// swapUnitName returns the unit of a swap device or file, see systemd.unit(5): "/"
// becomes "-", and other special characters "\x20".
func swapUnitName(device string) string {
	var b strings.Builder
	for i, c := range []byte(strings.Trim(device, "/")) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == ':' || c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String() + ".swap"
}
