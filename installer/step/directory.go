package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Directory is a directory with this mode and owner; its parents are made 0755.
type Directory struct {
	Path  string `json:"path"`
	Mode  Mode   `json:"mode,omitempty"` // 0755 when empty
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
	// Purge makes Undo remove everything below, also what daemons put there,
	// provided that the directory was not there or was empty before. Mounts below
	// it are unmounted first; a mount point itself is emptied and stays.
	Purge bool `json:"purge,omitempty"`
}

// Kind returns "directory".
func (d *Directory) Kind() string { return "directory" }

func (d *Directory) Target() Target { return Target{Path: d.Path} }

// Describe names path and mode.
func (d *Directory) Describe() string { return fmt.Sprintf("directory %s %s", d.Path, d.mode()) }

// Validate checks path and mode.
func (d *Directory) Validate() error {
	return errors.Join(checkPath("path", d.Path), d.Mode.check())
}

func (d *Directory) mode() Mode {
	if d.Mode == 0 {
		return 0o755
	}
	return d.Mode
}

// dirPrior is the directory as it was before.
type dirPrior struct {
	Existed bool     `json:"existed"`
	Empty   bool     `json:"empty,omitempty"`
	Mode    Mode     `json:"mode,omitempty"`
	UID     int      `json:"uid,omitempty"`
	GID     int      `json:"gid,omitempty"`
	Made    []string `json:"made,omitempty"`
}

// Check compares presence, mode and owner.
func (d *Directory) Check(_ context.Context, env *Env) (Result, error) {
	now, err := env.look(d.Path)
	if err != nil {
		return Result{}, err
	}
	if !now.exists {
		fp, err := env.filePrior(d.Path, now)
		return Result{State: Differs, Reason: "absent", Prior: priorJSON(dirPrior{Made: fp.Made})}, err
	}
	names, err := readNames(env.Path(d.Path))
	if err != nil {
		return Result{}, err
	}
	reason, err := env.differs(d.place(), now)
	if err != nil {
		return Result{}, err
	}
	if reason == "" {
		// A directory that was there empty is noted too, so that Purge may empty it again.
		if d.Purge && len(names) == 0 && !env.Owned {
			reason = "not recorded yet"
		} else {
			return Result{State: OK}, nil
		}
	}
	prior := dirPrior{Existed: true, Empty: len(names) == 0, Mode: now.mode, UID: now.uid, GID: now.gid}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(prior)}, nil
}

// Apply makes the directory.
func (d *Directory) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := d.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	uid, gid, err := env.ids(d.Owner, d.Group)
	if err != nil {
		return Result{}, err
	}
	if _, err := env.makeParents(d.Path); err != nil {
		return Result{}, err
	}
	path := env.Path(d.Path)
	if err := os.Mkdir(path, d.mode().Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return Result{}, err
	}
	// Owner first: chown may clear bits that chmod set.
	err = errors.Join(os.Lchown(path, uid, gid), os.Chmod(path, d.mode().Perm()))
	return Result{State: Changed, Reason: "made", Prior: res.Prior}, err
}

// Undo removes the directory where it was not there before and is empty by now,
// and with Purge what is below it too.
func (d *Directory) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var prior dirPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("directory %q: prior state: %w", d.Path, err)
	}
	now, err := env.look(d.Path)
	if err != nil || !now.exists {
		return err
	}
	if d.Purge && (!prior.Existed || prior.Empty) {
		if err := env.purge(ctx, d.Path); err != nil {
			return fmt.Errorf("directory %q: %w", d.Path, err)
		}
	}
	if prior.Existed {
		path := env.Path(d.Path)
		return errors.Join(os.Lchown(path, prior.UID, prior.GID), os.Chmod(path, prior.Mode.Perm()))
	}
	err = syscall.Rmdir(env.Path(d.Path))
	switch {
	case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, syscall.EBUSY):
		env.Log.Info("directory is in use and stays", "path", d.Path)
		return nil
	case err != nil:
		return fmt.Errorf("directory %q: %w", d.Path, err)
	}
	env.unmake(prior.Made)
	return nil
}

func (d *Directory) place() place { return place{d.Path, d.mode(), d.Owner, d.Group} }

// readNames returns the names in a directory.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
