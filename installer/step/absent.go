package step

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// Absent is a file that must not be there (any more), such as a bootstrap
// kubeconfig after the node has joined. Undo does not bring it back.
type Absent struct {
	Path string `json:"path"`
}

// Kind returns "absent".
func (a *Absent) Kind() string { return "absent" }

func (a *Absent) Target() Target { return Target{Path: a.Path} }

// Describe names the path.
func (a *Absent) Describe() string { return fmt.Sprintf("no file %s", a.Path) }

// Validate checks the path.
func (a *Absent) Validate() error { return checkPath("path", a.Path) }

// Check looks for the file; a directory there is an error.
func (a *Absent) Check(_ context.Context, env *Env) (Result, error) {
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
	return Result{State: Differs, Reason: "is there"}, nil
}

// Apply removes the file, or the link but not what it points to.
func (a *Absent) Apply(ctx context.Context, env *Env) (Result, error) {
	if res, err := a.Check(ctx, env); err != nil || res.State == OK {
		return res, err
	}
	if err := os.Remove(env.Path(a.Path)); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "removed"}, nil
}

// Undo does nothing: what is removed this way has no use later.
func (a *Absent) Undo(context.Context, *Env, json.RawMessage) error { return nil }
