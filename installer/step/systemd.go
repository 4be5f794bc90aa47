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

// unitState asks systemd; a unit that does not exist has load "not-found".
func (e *Env) unitState(ctx context.Context, name string) (unitState, error) {
	out, err := e.Run.Run(ctx, Cmd{Argv: []string{
		"systemctl", "show", "--property=LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload", "--", name,
	}})
	if err != nil {
		return unitState{}, fmt.Errorf("ask systemd for %q: %w", name, err)
	}
	var s unitState
	for line := range strings.Lines(string(out.Stdout)) {
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
	return s, nil
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
