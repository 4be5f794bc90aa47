package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/step"
)

const (
	stampsFile = StateDir + "/stamps.json"
	marksFile  = StateDir + "/marks.json"
	// digestsFile only saves time: without it, programs are read again.
	digestsFile = StateDir + "/digests.json"
)

// stamps are small values between runs, see step.Env.Stamp.
type stamps struct {
	env    *step.Env
	values map[string]string
}

func openStamps(env *step.Env) (*stamps, error) {
	s := &stamps{env: env, values: map[string]string{}}
	return s, readJSON(env, stampsFile, &s.values)
}

func (s *stamps) get(key string) string { return s.values[key] }

func (s *stamps) set(key, value string) error {
	if s.values[key] == value {
		return nil
	}
	s.values[key] = value
	if value == "" {
		delete(s.values, key)
	}
	return writeJSON(s.env, stampsFile, s.values)
}

// openDigests returns the digests that the last run has left.
func openDigests(env *step.Env) *step.Digests {
	files := map[string]step.KnownFile{}
	if err := readJSON(env, digestsFile, &files); err != nil {
		files = nil // damaged
	}
	return step.NewDigests(files)
}

// saveDigests keeps the digests for the next run.
func saveDigests(env *step.Env) error {
	files := env.Digests.Changed()
	if files == nil {
		return nil
	}
	return writeJSON(env, digestsFile, files)
}

// readJSON leaves v as it is if the file does not exist.
func readJSON(env *step.Env, path string, v any) error {
	b, err := env.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return nil
}

func writeJSON(env *step.Env, path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.WriteFile(env.Path(path), append(b, '\n'), 0o600)
}

// rollbackMark is the newest bundle of a name that the host has seen.
type rollbackMark struct {
	Sequence int64  `json:"sequence"`
	Root     string `json:"root"`
}

// checkRollback refuses a signed bundle that is older than one that the host has seen,
// so that a compromised mirror cannot serve an old one. allow permits it.
func checkRollback(env *step.Env, name string, sequence int64, allow bool) error {
	marks := map[string]rollbackMark{}
	if err := readJSON(env, marksFile, &marks); err != nil {
		return err
	}
	if m := marks[name]; sequence < m.Sequence && !allow {
		return fmt.Errorf("%w: bundle %q has sequence %d, this host has seen %d", ErrDowngrade, name, sequence, m.Sequence)
	}
	return nil
}

// setRollbackMark records a verified bundle that is about to be used.
func setRollbackMark(env *step.Env, name string, m rollbackMark) error {
	marks := map[string]rollbackMark{}
	if err := readJSON(env, marksFile, &marks); err != nil {
		return err
	}
	if marks[name] == m {
		return nil
	}
	marks[name] = m
	return writeJSON(env, marksFile, marks)
}
