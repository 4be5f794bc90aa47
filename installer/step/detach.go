package step

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
)

// detached runs a program that outlives the agent and the operator's login: in a session
// of its own, so that no terminal hangs it up; with files as output, since a write to a
// pipe without a reader would end it; and on a host with systemd in a scope of the system,
// since logind may end the scope of a login with all processes in it (KillUserProcesses in
// logind.conf).
func detached(cmd *exec.Cmd) (out Output, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if scope, err := lookPath("systemd-run"); err == nil && isDir(systemdRuns) {
		// It replaces itself by the program.
		cmd.Args = slices.Concat([]string{scope, "--scope", "--quiet", "--", cmd.Path}, cmd.Args[1:])
		cmd.Path = scope
	}
	stdout, err := unnamed()
	if err != nil {
		return Output{}, err
	}
	defer stdout.Close()
	stderr, err := unnamed()
	if err != nil {
		return Output{}, err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err = cmd.Run()
	var errs [2]error
	out.Stdout, errs[0] = io.ReadAll(io.NewSectionReader(stdout, 0, maxOutput))
	out.Stderr, errs[1] = io.ReadAll(io.NewSectionReader(stderr, 0, maxOutput))
	return out, errors.Join(err, errs[0], errs[1])
}

// systemdRuns exists if systemd manages the host, see sd_booted(3).
const systemdRuns = "/run/systemd/system"

func isDir(name string) bool {
	st, err := os.Lstat(name)
	return err == nil && st.IsDir()
}

// unnamed returns a temporary file that vanishes when nobody has it open.
func unnamed() (*os.File, error) {
	f, err := os.CreateTemp("", "offk8s-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
