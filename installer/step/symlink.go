package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/offk8s/offk8s/bundle/durable"
)

// Symlink is a symbolic link at Path. It replaces another link or a file, which Undo
// restores.
type Symlink struct {
	Path string `json:"path"`
	To   string `json:"target"` // a clean path, absolute or from the directory of Path
}

func (s *Symlink) Kind() string { return "symlink" }

func (s *Symlink) Target() Target { return Target{Path: s.Path} }

func (s *Symlink) Describe() string { return fmt.Sprintf("symlink %s -> %s", s.Path, s.To) }

func (s *Symlink) Validate() error {
	return errors.Join(checkPath("path", s.Path), checkPath("target", s.resolved()), s.checkClean())
}

func (s *Symlink) checkClean() error {
	if filepath.Clean(s.To) != s.To {
		return fmt.Errorf("target %q: not clean", s.To)
	}
	return nil
}

// resolved returns the absolute path of the target.
func (s *Symlink) resolved() string {
	if s.To == "" || filepath.IsAbs(s.To) {
		return s.To
	}
	return filepath.Join(filepath.Dir(s.Path), s.To)
}

// symlinkPrior is the previous link, or the file or nothing that was there.
type symlinkPrior struct {
	Target string `json:"target,omitempty"`
	filePrior
}

func (s *Symlink) Check(_ context.Context, env *Env) (Result, error) {
	if err := env.checkParents(s.Path); err != nil {
		return Result{}, err
	}
	st, err := os.Lstat(env.Path(s.Path))
	var prior symlinkPrior
	reason := "absent"
	switch {
	case absent(err):
		prior.Made = env.missingParents(s.Path)
	case err != nil:
		return Result{}, err
	case st.Mode().IsRegular():
		reason = "is a file"
		if prior.filePrior, err = env.priorOf(s.Path); err != nil {
			return Result{}, err
		}
	case st.Mode()&fs.ModeSymlink == 0:
		return Result{}, fmt.Errorf("symlink %q: exists and is neither a link nor a file", s.Path)
	default:
		if prior.Target, err = os.Readlink(env.Path(s.Path)); err != nil {
			return Result{}, err
		}
		if prior.Target == s.To {
			return Result{State: OK}, nil
		}
		reason = "points to " + prior.Target
	}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(prior)}, nil
}

func (s *Symlink) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := s.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	var prior symlinkPrior
	if err := json.Unmarshal(res.Prior, &prior); err != nil {
		return Result{}, err
	}
	if err := env.backUp(s.Path, prior.filePrior); err != nil {
		return Result{}, err
	}
	if err := env.makeParents(s.Path); err != nil {
		return Result{}, err
	}
	if err := replaceLink(env.Path(s.Path), s.To); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "linked", Prior: res.Prior}, nil
}

func (s *Symlink) Undo(_ context.Context, env *Env, raw json.RawMessage) error {
	var prior symlinkPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("symlink %q: prior state: %w", s.Path, err)
	}
	if err := env.checkParents(s.Path); err != nil {
		return err
	}
	if prior.Target != "" {
		return replaceLink(env.Path(s.Path), prior.Target)
	}
	st, err := os.Lstat(env.Path(s.Path))
	switch {
	case absent(err):
	case err != nil:
		return err
	case st.Mode()&fs.ModeSymlink != 0:
		if err := os.Remove(env.Path(s.Path)); err != nil {
			return err
		}
	case !prior.Existed:
		return fmt.Errorf("symlink %q: is no symbolic link any more, left alone", s.Path)
	}
	return env.restore(s.Path, priorJSON(prior.filePrior))
}

// replaceLink creates a temporary link beside path and renames it to path.
func replaceLink(path, target string) error {
	tmp := filepath.Join(filepath.Dir(path), ".offk8s-link-"+filepath.Base(path))
	if err := os.Remove(tmp); err != nil && !absent(err) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	return durable.Rename(tmp, path)
}
