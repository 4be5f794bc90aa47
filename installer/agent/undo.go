package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// undo undoes everything in the journal, newest first. A step that fails stays in the
// journal for the next reset and undo continues with the others. If all succeed, undo
// removes the state of offk8s, the journal last.
func (s *session) undo(ctx context.Context, j *journal) error {
	env, runAfter := s.undoEnv()
	var stays, gone []string
	failed, all := 0, len(j.records)
	for _, r := range slices.Backward(slices.Clone(j.records)) {
		start := time.Now()
		if err := s.out.send(Event{Type: EventStart, ID: r.ID}); err != nil {
			return err
		}
		left, lost, err := s.undoOne(ctx, j, r, env)
		stays, gone = append(stays, left...), append(gone, lost...)
		ev := Event{Type: EventStep, ID: r.ID, State: step.Changed, Reason: "restored", Took: time.Since(start)}
		if err != nil {
			failed++
			ev.State, ev.Reason = step.Failed, err.Error()
		}
		if err := s.out.send(ev); err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	runAfter(ctx)
	if len(stays)+len(gone) > 0 {
		slices.Sort(stays)
		slices.Sort(gone)
		if err := s.out.send(Event{Type: EventStays, Stays: slices.Compact(stays), Gone: slices.Compact(gone)}); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d could not be undone, the journal keeps them",
			ErrStep, failed, all)
	}
	return s.forget(j)
}

// undoEnv returns the environment for Undo, and a function that runs the programs that
// the steps have left for the end.
func (s *session) undoEnv() (*step.Env, func(context.Context)) {
	var after [][]string
	env := *s.env
	env.Owned = true
	env.After = func(argv []string) {
		if !slices.ContainsFunc(after, func(x []string) bool { return slices.Equal(x, argv) }) {
			after = append(after, argv)
		}
	}
	return &env, func(ctx context.Context) {
		for _, argv := range after {
			if _, err := env.Run.Run(ctx, step.Cmd{Argv: argv}); err != nil {
				s.env.Log.Warn("after undo", "program", argv[0], "error", err.Error())
			}
		}
	}
}

func (s *session) undoOne(ctx context.Context, j *journal, r *record, env *step.Env) (stays, gone []string, err error) {
	st, err := s.stepOf(r)
	if err != nil {
		return nil, nil, err
	}
	if err := st.Undo(ctx, env, r.prior()); err != nil {
		return nil, nil, err
	}
	if k, ok := st.(step.Retainer); ok {
		stays, gone = k.Retained(r.prior())
	}
	return stays, gone, j.undone(r)
}

// stepOf returns the step of a record.
func (s *session) stepOf(r *record) (step.Step, error) {
	if r.step == nil {
		it, err := s.kinds.Decode(r.Item)
		if err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
		r.step = it.Step
	}
	return r.step, nil
}

// prior returns the argument of Undo.
func (r *record) prior() json.RawMessage {
	if len(r.Prior) == 0 {
		return json.RawMessage("{}")
	}
	return r.Prior
}

// forget removes the state of offk8s by name; the journal last, so that an interrupted
// reset can continue.
func (s *session) forget(j *journal) error {
	if err := j.close(); err != nil {
		return err
	}
	for _, dir := range []string{cacheDir, step.BackupDir, step.CacheDir} {
		if err := removeTree(s.env, dir); err != nil {
			return fmt.Errorf("remove %q: %w", dir, err)
		}
	}
	for _, f := range []string{stampsFile, marksFile, digestsFile, lockFile, journalFile} {
		if err := os.Remove(s.env.Path(f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	removePartials(s.env)
	if err := os.Remove(s.env.Path(StateDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.env.Log.Info("state directory has other files and stays", "path", StateDir)
	}
	return nil
}

// removePartials removes the files of the agent that were replaced while it was killed:
// the new one has another name until it is complete. The caller has locked the host.
func removePartials(env *step.Env) {
	parts, err := filepath.Glob(env.Path(StateDir + "/.*.partial"))
	if err != nil {
		return // the pattern is a constant
	}
	for _, p := range parts {
		_ = os.Remove(p) // one that stays does no harm
	}
}

// removeTree removes a directory, but refuses a link in its place.
func removeTree(env *step.Env, dir string) error {
	st, err := os.Lstat(env.Path(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return errors.New("is not a directory")
	}
	return os.RemoveAll(env.Path(dir))
}
