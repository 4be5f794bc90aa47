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

// unitState is a unit's state in systemd.
type unitState struct {
	load, active, sub, file string
	stale                   bool // the files are newer than the loaded unit
}

// unitState asks systemd; a unit that does not exist has load "not-found". The call is the
// same for all units of a request, so that one is enough (see Env.Run). If it fails,
// another unit may be the reason.
func (e *Env) unitState(ctx context.Context, name string) (unitState, error) {
	var all []string
	for _, s := range e.Kept {
		if u, ok := s.(*Unit); ok && !slices.Contains(all, u.Name) {
			all = append(all, u.Name)
		}
	}
	if i := slices.Index(all, name); i >= 0 && len(all) > 1 {
		if states, err := e.unitStates(ctx, all); err == nil {
			return states[i], nil
		}
	}
	states, err := e.unitStates(ctx, []string{name})
	if err != nil {
		return unitState{}, err
	}
	return states[0], nil
}

// ActiveUnit returns the first of the units that is active, "" if none is or systemd does
// not answer.
func (e *Env) ActiveUnit(ctx context.Context, names ...string) string {
	states, err := e.unitStates(ctx, names)
	if err != nil {
		return ""
	}
	for i, s := range states {
		if s.active == "active" {
			return names[i]
		}
	}
	return ""
}

// unitStates returns the states of units in their order.
func (e *Env) unitStates(ctx context.Context, names []string) ([]unitState, error) {
	argv := []string{"systemctl", "show", "--property=LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload", "--"}
	out, err := e.Run.Run(ctx, Cmd{Argv: append(argv, names...)})
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %q: %w", names, err)
	}
	// A blank line ends each unit.
	blocks := strings.Split(strings.TrimSpace(string(out.Stdout)), "\n\n")
	if len(blocks) != len(names) {
		return nil, fmt.Errorf("ask systemd for %q: it knows %d", names, len(blocks))
	}
	var states []unitState
	for _, b := range blocks {
		states = append(states, parseUnit(b))
	}
	return states, nil
}

func parseUnit(block string) unitState {
	var s unitState
	for line := range strings.Lines(block) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
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
	return s
}

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
