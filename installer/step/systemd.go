package step

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// unitDir has the unit files of the administrator.
const unitDir = "/etc/systemd/system/"

// unitDirs have the unit files, see systemd.unit(5).
var unitDirs = []string{
	unitDir, "/run/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/",
	"/etc/systemd/system.control/", "/run/systemd/system.control/", "/run/systemd/transient/",
	"/run/systemd/generator.early/", "/run/systemd/generator/", "/run/systemd/generator.late/",
}

// unitState is a unit's state in systemd.
type unitState struct {
	load, active, sub, file string
	fragment, source        string // paths of the unit file and of the file that it was generated from
	stale                   bool   // the files are newer than the loaded unit
	queued                  bool   // a job for it waits or runs
}

// unitState asks systemd; a unit that does not exist has load "not-found".
func (e *Env) unitState(ctx context.Context, name string) (unitState, error) {
	states, err := e.unitStates(ctx, name)
	return states[name], err
}

// unitStates asks systemd for units. The call is the same for all steps of a request, so
// that one is enough (see Env.Run). If it fails, another unit may be the reason.
func (e *Env) unitStates(ctx context.Context, names ...string) (map[string]unitState, error) {
	all := e.keptUnits()
	if len(all) > len(names) && !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(all, n) }) {
		if states, err := e.askUnits(ctx, all); err == nil {
			return states, nil
		}
	}
	return e.askUnits(ctx, names)
}

// keptUnits returns the units that the steps of the request ask for.
func (e *Env) keptUnits() []string {
	var all []string
	for _, s := range e.Kept {
		switch s := s.(type) {
		case *Unit:
			all = union(all, []string{s.Name})
		case *Swap:
			all = union(all, swapAsked)
		}
	}
	return all
}

// ActiveUnit returns the first of the units that is active, "" if none is or systemd does
// not answer. It does not ask for units that have no file.
func (e *Env) ActiveUnit(ctx context.Context, names ...string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return !slices.ContainsFunc(unitDirs, func(dir string) bool { return e.exists(dir + n) })
	})
	if len(names) == 0 {
		return ""
	}
	states, _ := e.askUnits(ctx, names)
	i := slices.IndexFunc(names, func(n string) bool { return states[n].active == "active" })
	if i < 0 {
		return ""
	}
	return names[i]
}

// askUnits returns the states of units by name. A pattern such as "*.swap" stands for all
// units that systemd has loaded; systemctl prints them last.
func (e *Env) askUnits(ctx context.Context, names []string) (map[string]unitState, error) {
	const properties = "Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,FragmentPath,SourcePath,Job"
	plain := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, "*") })
	argv := []string{"systemctl", "show", "--property=" + properties}
	if len(plain) < len(names) {
		argv = append(argv, "--all") // also those that are not active
	}
	res, err := e.Run.Run(ctx, Cmd{Argv: slices.Concat(argv, []string{"--"}, names)})
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %q: %w", names, err)
	}
	// A blank line ends each unit.
	blocks := strings.Split(strings.TrimSpace(string(res.Stdout)), "\n\n")
	if len(blocks) < len(plain) || len(blocks) > len(plain) && len(plain) == len(names) {
		return nil, fmt.Errorf("ask systemd for %q: it knows %d", names, len(blocks))
	}
	out := map[string]unitState{}
	// An alias has the Id of its unit, so that the order of the arguments counts.
	for i, b := range blocks {
		id, s := parseUnit(b)
		if i < len(plain) {
			out[plain[i]] = s
		} else if id != "" {
			out[id] = s
		}
	}
	return out, nil
}

func parseUnit(block string) (id string, s unitState) {
	for line := range strings.Lines(block) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "Id":
			id = value
		case "FragmentPath":
			s.fragment = value
		case "SourcePath":
			s.source = value
		case "Job":
			s.queued = value != "" && value != "0"
		case "LoadState":
			s.load = value
		case "ActiveState":
			s.active = value
		case "SubState":
			s.sub = value
		case "UnitFileState":
			s.file = value
		case "NeedDaemonReload":
			s.stale = value == "yes"
		}
	}
	return id, s
}

// up reports whether a unit is active or becomes it.
func (s unitState) up() bool { return s.active == "active" || s.active == "activating" }

// running reports whether a unit runs or starts; a unit that systemd keeps
// restarting does not count.
func (s unitState) running() bool {
	switch s.active {
	case "active", "reloading":
		return true
	case "activating":
		return s.sub != "auto-restart"
	}
	return false
}

// enabled reports whether a unit is enabled, or cannot be.
func (s unitState) enabled() bool {
	return slices.Contains([]string{
		"enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "linked",
	}, s.file)
}

func (s unitState) exists() bool { return s.load != "not-found" && s.load != "" }

// systemctl runs systemctl with args.
func (e *Env) systemctl(ctx context.Context, args ...string) error {
	_, err := e.Run.Run(ctx, Cmd{Argv: append([]string{"systemctl"}, args...)})
	return err
}

// daemonReload makes systemd read its files again. It does nothing on a host without
// systemd.
func (e *Env) daemonReload(ctx context.Context) error {
	err := e.systemctl(ctx, "daemon-reload")
	if _, none := errors.AsType[*NotFoundError](err); none {
		return nil
	}
	return err
}

// unitLog adds the last log lines of a unit to the error of its start.
func (e *Env) unitLog(ctx context.Context, name string, err error) error {
	out, logErr := e.Run.Run(ctx, Cmd{Argv: []string{
		"journalctl", "--unit=" + name, "--lines=15", "--no-pager", "--output=cat",
	}})
	if said := strings.TrimSpace(string(out.Stdout)); logErr == nil && said != "" {
		return fmt.Errorf("%w; its log ends: %s", err, e.tail(said, 1500))
	}
	return err
}

// filesDigest returns the digest of the contents of files in order; a missing file
// counts too.
func (e *Env) filesDigest(paths []string) (string, error) {
	all := digest.Canonical.Digester()
	for _, p := range paths {
		d, err := e.fileDigest(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(all.Hash(), "%q %s\n", p, d)
	}
	return all.Digest().Encoded(), nil
}

func (e *Env) fileDigest(path string) (digest.Digest, error) {
	f, err := os.Open(e.Path(path))
	if absent(err) {
		return "absent", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	return e.Digests.of(f, f)
}
