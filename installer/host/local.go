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
// through sudo.
type Local struct {
	name string
	sudo *Sudo
}

// NewLocal returns this machine with its name in the inventory. If sudo is nil, sudo must
// not ask for a password.
func NewLocal(name string, sudo *Sudo) *Local { return &Local{name, sudo} }

func (l *Local) Name() string { return l.name }

// Run gives the program a minimal environment without proxies.
func (l *Local) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(argv) == 0 {
		return errors.New("no program")
	}
	o := newOpening(l.name, l.sudo, stdout, stderr)
	line := o.argv(argv, os.Geteuid() == 0)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C", "LC_ALL=C",
	}
	cmd.Stdout, cmd.Stderr = openingOut{o}, openingErr{o}
	// A new process group: Ctrl-C is for offk8s, which closes the agent's stdin.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A daemon that the program started may keep its output open.
	cmd.WaitDelay = grace
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	o.stdin = in
	if err := cmd.Start(); err != nil {
		return err
	}
	wait := func() error {
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return &ExitError{Program: argv[0], Code: exit.ExitCode()}
		}
		return err
	}
	return o.run(ctx, in, stdin, wait, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
}

func (l *Local) Upload(ctx context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error {
	return upload(ctx, l, r, size, dest, mode)
}

func (l *Local) Close() error { return nil }
