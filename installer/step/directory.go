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

// Directory is a directory with this mode and owner. Missing parents are created 0755.
type Directory struct {
	Path  string `json:"path"`
	Mode  Mode   `json:"mode,omitempty"` // default 0755
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
	// Purge makes Undo remove everything below, including files of daemons, if the
	// directory did not exist or was empty before. Undo first unmounts file systems
	// below it; a directory that is a mount point stays, empty.
	Purge bool `json:"purge,omitempty"`
}

func (d *Directory) Kind() string { return "directory" }

func (d *Directory) Target() Target { return Target{Path: d.Path} }

func (d *Directory) Describe() string { return fmt.Sprintf("directory %s %s", d.Path, d.mode()) }

func (d *Directory) Validate() error {
	return errors.Join(checkPath("path", d.Path), d.Mode.check())
}

func (d *Directory) mode() Mode {
	if d.Mode == 0 {
		return 0o755
	}
	return d.Mode
}

// dirPrior is the directory before the step.
type dirPrior struct {
	Existed bool     `json:"existed"`
	Empty   bool     `json:"empty,omitempty"`
	Mode    Mode     `json:"mode,omitempty"`
	UID     int      `json:"uid,omitempty"`
	GID     int      `json:"gid,omitempty"`
	Made    []string `json:"made,omitempty"`
}

func (d *Directory) Check(_ context.Context, env *Env) (Result, error) {
	now, err := env.stat(d.Path)
	if err != nil {
		return Result{}, err
	}
	if !now.exists {
		prior := dirPrior{Made: env.missingParents(d.Path)}
		return Result{State: Differs, Reason: "absent", Prior: priorJSON(prior)}, nil
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
		// The journal needs an empty directory too, so that Purge may empty it again.
		if d.Purge && len(names) == 0 && !env.Owned {
			reason = "not recorded yet"
		} else {
			return Result{State: OK}, nil
		}
	}
	prior := dirPrior{Existed: true, Empty: len(names) == 0, Mode: now.mode, UID: now.uid, GID: now.gid}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(prior)}, nil
}

func (d *Directory) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := d.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	uid, gid, err := env.ids(d.Owner, d.Group)
	if err != nil {
		return Result{}, err
	}
	if err := env.makeParents(d.Path); err != nil {
		return Result{}, err
	}
	path := env.Path(d.Path)
	if err := os.Mkdir(path, d.mode().Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return Result{}, err
	}
	// Owner first: chown may clear mode bits.
	err = errors.Join(os.Lchown(path, uid, gid), os.Chmod(path, d.mode().Perm()))
	return Result{State: Changed, Reason: "made", Prior: res.Prior}, err
}

// Undo removes the directory if it did not exist before and is empty by then;
// with Purge it removes the content first.
func (d *Directory) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var prior dirPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("directory %q: prior state: %w", d.Path, err)
	}
	now, err := env.stat(d.Path)
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
	env.removeEmpty(prior.Made)
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
