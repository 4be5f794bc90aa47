package step

import (
	"context"
	"encoding/json"
	"errors"
)

var errUnbuilt = errors.New("step kind is not built yet")

// Check is not built yet.
func (*File) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*File) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*File) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Directory) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Directory) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Directory) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Symlink) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Symlink) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Symlink) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Absent) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Absent) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Absent) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Artifact) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Artifact) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Artifact) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Block) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Block) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Block) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Packages) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Packages) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Packages) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Unit) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Unit) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Unit) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Hostname) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Hostname) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Hostname) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Swap) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Swap) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Swap) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Modules) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Modules) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Modules) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Sysctl) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Sysctl) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Sysctl) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Firewall) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Firewall) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Firewall) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*SELinux) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*SELinux) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*SELinux) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Command) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Command) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Command) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Wait) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Wait) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Wait) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

// Check is not built yet.
func (*Route) Check(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Apply is not built yet.
func (*Route) Apply(context.Context, *Env) (Result, error) { return Result{}, errUnbuilt }

// Undo is not built yet.
func (*Route) Undo(context.Context, *Env, json.RawMessage) error { return errUnbuilt }

