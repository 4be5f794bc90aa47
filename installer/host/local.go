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

// Local is the machine that offk8s runs on. Programs run as root: through
// sudo, which must not ask for a password, when offk8s does not.
type Local struct{ name string }

// NewLocal returns this machine under the inventory's name.
func NewLocal(name string) *Local { return &Local{name} }

// Name implements Host.
func (l *Local) Name() string { return l.name }

// Run implements Host. The program gets a minimal environment without proxies.
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
	// A group of its own: Ctrl-C is for offk8s, which tells the agent in its own way.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A daemon that the program left behind may hold its output open.
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
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return &ExitError{Program: argv[0], Code: exit.ExitCode()}
	}
	return err
}

// Upload implements Host.
func (l *Local) Upload(ctx context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error {
	return upload(ctx, l, r, size, dest, mode)
}

// Close implements Host.
func (l *Local) Close() error { return nil }
