package step

import (
	"errors"
	"strings"
)

// Command runs a program, for what no other kind covers. It is data: argv goes
// to the kernel as it is, no shell reads it.
//
// One of CheckArgv, Verify and Once says when it is done:
//   - CheckArgv exits 0 (and prints CheckOutput, when set) once Argv is not needed any more;
//   - Verify: Argv itself changes nothing, its success is the result;
//   - Once: Argv runs once, and again only when its spec or Triggers change.
type Command struct {
	Argv      []string `json:"argv"`
	CheckArgv []string `json:"checkArgv,omitempty"`
	// CheckOutput must be found in what CheckArgv prints.
	CheckOutput string `json:"checkOutput,omitempty"`
	Verify      bool   `json:"verify,omitempty"`
	Once        bool   `json:"once,omitempty"`
	// Triggers are files whose change runs a Once command again.
	Triggers []string `json:"triggers,omitempty"`
	Stdin    string   `json:"stdin,omitempty"`
	// StdinSecret names what goes to stdin instead.
	StdinSecret string `json:"stdinSecret,omitempty"`
	// Env is added to the minimal environment; never a secret.
	Env []string `json:"env,omitempty"`
	// UndoArgv is run by reset; none means that nothing is undone.
	UndoArgv []string `json:"undoArgv,omitempty"`
	// Text replaces argv in descriptions, for long ones.
	Text string `json:"text,omitempty"`
}

// Kind returns "command".
func (c *Command) Kind() string { return "command" }

// Describe tells Text or the command line.
func (c *Command) Describe() string {
	if c.Text != "" {
		return c.Text
	}
	return "run " + strings.Join(c.Argv, " ")
}

// Validate checks that there is exactly one way to know when it is done.
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
