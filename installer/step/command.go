package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Command runs a program, without a shell, for changes that no other kind covers.
//
// One of CheckArgv, Verify and Once determines when it is done:
//   - CheckArgv exits 0, and prints CheckOutput if it is set, once Argv need not run;
//   - Verify: Argv changes nothing, its success is the result;
//   - Once: Argv runs once, and again if its spec or Triggers change.
type Command struct {
	Argv      []string `json:"argv"`
	CheckArgv []string `json:"checkArgv,omitempty"`
	// CheckOutput must occur in the output of CheckArgv.
	CheckOutput string `json:"checkOutput,omitempty"`
	Verify      bool   `json:"verify,omitempty"`
	Once        bool   `json:"once,omitempty"`
	// Triggers are files whose change runs a Once command again.
	Triggers []string `json:"triggers,omitempty"`
	Stdin    string   `json:"stdin,omitempty"`
	// StdinSecret is the secret to send to stdin instead.
	StdinSecret SecretRef `json:"stdinSecret,omitempty"`
	// Env is added to the minimal environment; never a secret.
	Env []string `json:"env,omitempty"`
	// UndoArgv is the program that Undo runs, if any.
	UndoArgv []string `json:"undoArgv,omitempty"`
	// Text replaces a long Argv in descriptions.
	Text string `json:"text,omitempty"`
}

func (c *Command) Kind() string { return "command" }

func (c *Command) Secrets() []SecretRef { return references(c.StdinSecret) }

func (c *Command) Observes() bool { return c.Verify }

func (c *Command) Describe() string {
	if c.Text != "" {
		return c.Text
	}
	return "run " + strings.Join(c.Argv, " ")
}

func (c *Command) Validate() error {
	errs := []error{checkArgv("argv", c.Argv)}
	ways := 0
	for _, on := range []bool{len(c.CheckArgv) > 0, c.Verify, c.Once} {
		if on {
			ways++
		}
	}
	if ways != 1 {
		errs = append(errs, errors.New("want exactly one of checkArgv, verify and once"))
	}
	if len(c.CheckArgv) > 0 {
		errs = append(errs, checkArgv("checkArgv", c.CheckArgv))
	}
	if len(c.UndoArgv) > 0 {
		errs = append(errs, checkArgv("undoArgv", c.UndoArgv))
	}
	if c.Stdin != "" && c.StdinSecret != "" {
		errs = append(errs, errors.New("stdin and stdinSecret: want one of them"))
	}
	for _, t := range c.Triggers {
		errs = append(errs, checkPath("trigger", t))
	}
	return errors.Join(errs...)
}

func (c *Command) Check(ctx context.Context, env *Env) (Result, error) {
	switch {
	case c.Verify:
		if err := c.run(ctx, env); err != nil {
			return c.differs(err)
		}
		return Result{State: Verified}, nil
	case c.Once:
		stamp, err := env.filesDigest(c.Triggers)
		if err != nil {
			return Result{}, err
		}
		if env.Stamp(c.key()) == stamp {
			return Result{State: OK}, nil
		}
		return Result{State: Differs, Reason: "has not run yet"}, nil
	}
	out, err := env.Run.Run(ctx, Cmd{Argv: c.CheckArgv, Env: c.Env})
	if err != nil {
		return c.differs(err)
	}
	if !strings.Contains(string(out.Stdout), c.CheckOutput) {
		return Result{State: Differs, Reason: fmt.Sprintf("%q does not say %q", c.CheckArgv[0], c.CheckOutput)}, nil
	}
	return Result{State: OK}, nil
}

// differs turns a non-zero exit into a difference. A program that could not run stays
// an error.
func (c *Command) differs(err error) (Result, error) {
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return Result{State: Differs, Reason: exit.Error()}, nil
	}
	return Result{}, err
}

func (c *Command) Apply(ctx context.Context, env *Env) (Result, error) {
	stamp := ""
	if c.Once {
		var err error
		if stamp, err = env.filesDigest(c.Triggers); err != nil {
			return Result{}, err
		}
	}
	if err := c.run(ctx, env); err != nil {
		return Result{}, err
	}
	switch {
	case c.Verify:
		return Result{State: Verified}, nil
	case c.Once:
		if err := env.SetStamp(c.key(), stamp); err != nil {
			return Result{}, err
		}
	}
	return Result{State: Changed, Reason: "run"}, nil
}

func (c *Command) Undo(ctx context.Context, env *Env, _ json.RawMessage) error {
	if len(c.UndoArgv) == 0 {
		return nil
	}
	_, err := env.Run.Run(ctx, Cmd{Argv: c.UndoArgv, Env: c.Env})
	return err
}

func (c *Command) run(ctx context.Context, env *Env) error {
	stdin := []byte(c.Stdin)
	if c.StdinSecret != "" {
		var err error
		if stdin, err = env.Secret(c.StdinSecret); err != nil {
			return err
		}
	}
	_, err := env.Run.Run(ctx, Cmd{Argv: c.Argv, Stdin: stdin, Env: c.Env})
	return err
}

// key is the name of the stamp, which identifies the spec of the step.
func (c *Command) key() string {
	return "command/" + digest.FromBytes(priorJSON(c)).Encoded()[:24]
}
