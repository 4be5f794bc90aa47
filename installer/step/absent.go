package step

import (
	"context"
	"fmt"
	"os"
)

// Absent is a file that must not exist, such as a bootstrap kubeconfig after the node
// has joined. Undo does not restore it.
type Absent struct {
	NoUndo
	Path string `json:"path"`
}

func (a *Absent) Kind() string { return "absent" }

func (a *Absent) Target() Target { return Target{Path: a.Path} }

func (a *Absent) Describe() string { return fmt.Sprintf("no file %s", a.Path) }

func (a *Absent) Validate() error { return checkPath("path", a.Path) }

func (a *Absent) Check(_ context.Context, env *Env) (Result, error) {
	if err := env.checkParents(a.Path); err != nil {
		return Result{}, err
	}
	st, err := os.Lstat(env.Path(a.Path))
	if absent(err) {
		return Result{State: OK}, nil
	}
	if err != nil {
		return Result{}, err
	}
	if st.IsDir() {
		return Result{}, fmt.Errorf("file %q: is a directory", a.Path)
	}
	return Result{State: Differs, Reason: "exists"}, nil
}

func (a *Absent) Apply(ctx context.Context, env *Env) (Result, error) {
	if res, err := a.Check(ctx, env); err != nil || res.State == OK {
		return res, err
	}
	if err := os.Remove(env.Path(a.Path)); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "removed"}, nil
}
