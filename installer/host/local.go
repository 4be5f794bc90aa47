package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// Local is the machine that offk8s runs on. Programs run as root: if offk8s does not,
// through sudo, which must not ask for a password.
type Local struct{ name string }

// NewLocal returns this machine with its name in the inventory.
func NewLocal(name string) *Local { return &Local{name} }

func (l *Local) Name() string { return l.name }

// Run gives the program a minimal environment without proxies.
func (l *Local) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(argv) == 0 {
		return errors.New("no program")
	}
	if os.Geteuid() != 0 {
		argv = append([]string{"sudo", "-n", "--"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C", "LC_ALL=C",
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// A new process group: Ctrl-C is for offk8s, which closes the agent's stdin.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A daemon that the program started may keep its output open.
	cmd.WaitDelay = grace
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = supervise(ctx, in, stdin, cmd.Wait, kill)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &ExitError{Program: argv[0], Code: exit.ExitCode()}
	}
	return err
}

func (l *Local) Upload(ctx context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error {
	return upload(ctx, l, r, size, dest, mode)
}

func (l *Local) Close() error { return nil }
