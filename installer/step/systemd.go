package step

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// unitState is what systemd says of a unit.
type unitState struct {
	load, active, sub, file string
	stale                   bool // files are newer than what systemd loaded
}

// unitState asks systemd; a unit that is not there has load "not-found".
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

// running accepts a unit on its way up, but not one that systemd starts again
// and again.
func (s unitState) running() bool {
	switch s.active {
	case "active", "reloading":
		return true
	case "activating":
		return s.sub != "auto-restart"
	}
	return false
}

// enabled also accepts what needs or knows no enabling.
func (s unitState) enabled() bool {
	return slices.Contains([]string{
		"enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "linked",
	}, s.file)
}

func (s unitState) exists() bool { return s.load != "not-found" && s.load != "" }

// systemctl runs one verb on a unit.
func (e *Env) systemctl(ctx context.Context, args ...string) error {
	_, err := e.Run.Run(ctx, Cmd{Argv: append([]string{"systemctl"}, args...)})
	return err
}

// unitLog adds a unit's last log lines to an error of starting it.
func (e *Env) unitLog(ctx context.Context, name string, err error) error {
	out, logErr := e.Run.Run(ctx, Cmd{Argv: []string{
		"journalctl", "--unit=" + name, "--lines=15", "--no-pager", "--output=cat",
	}})
	if said := strings.TrimSpace(string(out.Stdout)); logErr == nil && said != "" {
		return fmt.Errorf("%w; its log ends: %s", err, tail(said, 1500))
	}
	return err
}

// filesDigest digests the contents of files in order; one that is not there counts too.
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
	return digest.FromReader(f)
}
