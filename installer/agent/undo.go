package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// undo takes back everything in the journal, newest first. What fails stays in
// the journal, the rest goes on: a second reset tries it again. When all is
// done, offk8s's own state goes, the journal last.
func (s *session) undo(ctx context.Context, j *Journal) error {
	var after [][]string
	env := *s.env
	env.Owned = true
	env.After = func(argv []string) {
		if !slices.ContainsFunc(after, func(x []string) bool { return slices.Equal(x, argv) }) {
			after = append(after, argv)
		}
	}
	var stays []string
	failed, all := 0, len(j.records)
	for _, r := range slices.Backward(slices.Clone(j.records)) {
		start := time.Now()
		left, err := s.undoOne(ctx, j, r, &env)
		stays = append(stays, left...)
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
	for _, argv := range after {
		if _, err := env.Run.Run(ctx, step.Cmd{Argv: argv}); err != nil {
			s.env.Log.Warn("after undo", "program", argv[0], "error", err.Error())
		}
	}
	if len(stays) > 0 {
		slices.Sort(stays)
		if err := s.out.send(Event{Type: EventStays, Stays: slices.Compact(stays)}); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d could not be undone, the journal keeps them",
			ErrStep, failed, all)
	}
	return s.forget(j)
}

func (s *session) undoOne(ctx context.Context, j *Journal, r *Record, env *step.Env) (stays []string, err error) {
	it, err := s.kinds.Decode(r.Item)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	prior := r.Prior
	if len(prior) == 0 {
		prior = []byte("{}")
	}
	if err := it.Step.Undo(ctx, env, prior); err != nil {
		return nil, err
	}
	if st, ok := it.Step.(step.Retainer); ok {
		stays = st.Retained(prior)
	}
	return stays, j.undone(r)
}

// forget removes offk8s's own files by name; the journal is the last, so that
// an interrupted reset can go on.
func (s *session) forget(j *Journal) error {
	if err := j.close(); err != nil {
		return err
	}
	for _, dir := range []string{headDir, step.BackupDir, step.CacheDir} {
		if err := removeTree(s.env, dir); err != nil {
			return fmt.Errorf("remove %q: %w", dir, err)
		}
	}
	for _, f := range []string{stampsFile, marksFile, lockFile, journalFile} {
		if err := os.Remove(s.env.Path(f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(s.env.Path(StateDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.env.Log.Info("state directory has other files and stays", "path", StateDir)
	}
	return nil
}

// removeTree removes a directory of offk8s's own; a link in its place stays.
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
