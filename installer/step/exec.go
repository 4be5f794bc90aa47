package step

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

// maxOutput is the limit on a program's output in bytes; the rest is dropped.
const maxOutput = 8 << 20

// Exec is the Runner of a real host.
type Exec struct{}

// Run starts the program in a new process group with a minimal environment, without
// proxies and preloads. When ctx ends, the group gets SIGTERM and the program five seconds
// later SIGKILL.
func (Exec) Run(ctx context.Context, c Cmd) (Output, error) {
	if err := checkArgv("argv", c.Argv); err != nil {
		return Output{}, err
	}
	name, err := lookPath(c.Argv[0])
	if err != nil {
		return Output{}, err
	}
	cmd := exec.CommandContext(ctx, name, c.Argv[1:]...)
	cmd.Args[0] = c.Argv[0]
	cmd.Env = append(minimalEnv(), c.Env...)
	cmd.Dir = c.Dir
	switch {
	case c.Input != nil:
		cmd.Stdin = c.Input
	case len(c.Stdin) > 0:
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out Output
	if c.Finish > 0 {
		out, err = detached(cmd)
	} else {
		stdout, stderr := reader.Head{Max: maxOutput}, reader.Head{Max: maxOutput}
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err = cmd.Run()
		out = Output{stdout.Bytes(), stderr.Bytes()}
	}
	if ctx.Err() != nil && err != nil {
		return out, fmt.Errorf("%q: %w", c.Argv[0], context.Cause(ctx))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, NewExitError(c.Argv, exit.ExitCode(), out)
	}
	if err != nil {
		return out, fmt.Errorf("%q: %w", c.Argv[0], err)
	}
	return out, nil
}

// searchPath replaces the PATH of the caller.
var searchPath = []string{
	"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
}

func minimalEnv() []string {
	return []string{
		"PATH=" + strings.Join(searchPath, ":"), "HOME=/root", "LANG=C", "LC_ALL=C", "TERM=dumb",
	}
}

func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range searchPath {
		p := dir + "/" + name
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", &NotFoundError{name}
}

// NotFoundError reports that a host lacks a program.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("program %q: not found", e.Name) }

// ExitError reports that a program exited with another code than 0.
type ExitError struct {
	Program string
	Code    int // -1 if a signal ended it
	// Stderr is stderr, or stdout if stderr is empty. Error cuts it, so that secrets
	// can be removed from the whole text before.
	Stderr string
}

// NewExitError returns an ExitError with the output of the program.
func NewExitError(argv []string, code int, out Output) *ExitError {
	return &ExitError{Program: argv[0], Code: code, Stderr: said(out)}
}

// said returns the words of a program about its failure.
func said(out Output) string {
	return cmp.Or(strings.TrimSpace(string(out.Stderr)), strings.TrimSpace(string(out.Stdout)))
}

func (e *ExitError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("%q: exit code %d", e.Program, e.Code)
	}
	return fmt.Sprintf("%q: exit code %d: %s", e.Program, e.Code, tail(e.Stderr, 800))
}

// tail removes the secrets from s and returns its last n bytes. The order matters: no
// one recognizes half of a secret.
func (e *Env) tail(s string, n int) string {
	if e.Hide != nil {
		s = e.Hide(s)
	}
	return tail(strings.TrimSpace(s), n)
}

// tail returns the last n bytes of s, from the start of a line if there is one.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if _, rest, ok := strings.Cut(s, "\n"); ok {
		s = rest
	}
	return "… " + strings.ToValidUTF8(s, "")
}
