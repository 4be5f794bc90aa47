package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// swapUnits returns the units to mask so that no swap starts at boot, except for those
// of /etc/fstab. others are the devices in use that are not in this file.
func (e *Env) swapUnits(ctx context.Context, others []string) ([]swapUnit, error) {
	known, err := e.listSwapUnits(ctx)
	if _, none := errors.AsType[*NotFoundError](err); none {
		return nil, nil // no systemd, no units
	}
	if err != nil {
		return nil, err
	}
	var inUse []string
	for _, d := range others {
		inUse = append(inUse, swapUnitName(d))
	}
	ask := append(union(known, inUse), swapTarget)
	states, err := e.showUnits(ctx, append(ask, swapServices...))
	if err != nil {
		return nil, err
	}
	var out []swapUnit
	for _, name := range append(union(known, inUse), swapServices...) {
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

func (e *Env) swapUnit(name string, s bootUnit) (swapUnit, error) {
	u := swapUnit{Name: name, Start: s.active && s.fragment != ""}
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
	states, err := e.showUnits(ctx, names(units))
	if err != nil {
		return err
	}
	for _, u := range units {
		switch {
		case !u.Start || states[u.Name].active:
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

// bootUnit is a unit as systemd has loaded it.
type bootUnit struct {
	load, file       string // LoadState, UnitFileState
	fragment, source string // paths of the unit file and of the file that it was generated from
	active           bool
}

// masked reports whether the unit is masked for good.
func (b bootUnit) masked() bool {
	return b.file == "masked" || b.load == "masked" && b.file != "masked-runtime"
}

// startsAtBoot reports whether the unit may start at boot or is active. A disabled unit
// that is not active stays as it is.
func (b bootUnit) startsAtBoot() bool {
	return b.fragment != "" && (b.active || b.file != "disabled")
}

// listSwapUnits lists the swap units that systemd knows, active or not: it loads every
// unit that another one wants at boot.
func (e *Env) listSwapUnits(ctx context.Context) ([]string, error) {
	out, err := e.Run.Run(ctx, Cmd{Argv: []string{
		"systemctl", "list-units", "--type=swap", "--all", "--full", "--plain", "--no-legend", "--no-pager",
	}})
	if err != nil {
		return nil, fmt.Errorf("ask systemd for swap units: %w", err)
	}
	var list []string
	for line := range strings.Lines(string(out.Stdout)) {
		// A mark comes first if the unit has failed or has no file.
		for _, word := range strings.Fields(line) {
			if strings.HasSuffix(word, ".swap") && unitName(word) {
				list = append(list, word)
				break
			}
		}
	}
	return list, nil
}

// showUnits returns the state of units by name.
func (e *Env) showUnits(ctx context.Context, units []string) (map[string]bootUnit, error) {
	argv := []string{"systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState,FragmentPath,SourcePath", "--"}
	res, err := e.Run.Run(ctx, Cmd{Argv: append(argv, units...)})
	if err != nil {
		return nil, fmt.Errorf("ask systemd for swap units: %w", err)
	}
	out := map[string]bootUnit{}
	// A blank line ends each unit. An alias has the Id of its unit, so that the order of
	// the arguments counts.
	for i, block := range strings.Split(strings.TrimSpace(string(res.Stdout)), "\n\n") {
		var b bootUnit
		id := ""
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "Id":
				id = value
			case "LoadState":
				b.load = value
			case "ActiveState":
				b.active = value == "active" || value == "activating"
			case "UnitFileState":
				b.file = value
			case "FragmentPath":
				b.fragment = value
			case "SourcePath":
				b.source = value
			}
		}
		if i < len(units) {
			out[units[i]] = b
		}
		if id != "" {
			out[id] = b
		}
	}
	return out, nil
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
