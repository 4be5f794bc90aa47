//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lab is the test machine's hosts, driven by test/lab/lab.sh.
type lab struct {
	script string
	dir    string // LAB: ssh key, known_hosts, hosts
	cache  string // components, bases, rpms
	bin    string // the offk8s under test
}

// newLab takes the places from the environment that test/e2e/run prepares.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{script: "../lab/lab.sh", dir: os.Getenv("LAB"), cache: os.Getenv("OFFK8S_LAB"), bin: os.Getenv("OFFK8S_BIN")}
	if l.dir == "" || l.cache == "" || l.bin == "" {
		t.Fatal("run it by `make e2e`: LAB, OFFK8S_LAB and OFFK8S_BIN are not set")
	}
	return l
}

// sh runs lab.sh.
func (l *lab) sh(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, time.Minute*3, append([]string{l.script}, args...)...)
}

// in runs a program in a network namespace of the lab.
func in(ns string, argv ...string) []string {
	return append([]string{"ip", "netns", "exec", ns}, argv...)
}

// ssh is the argv of a command on a lab host, as an operator would give it.
func (l *lab) ssh(addr string, argv ...string) []string {
	return in("operator", append([]string{
		"ssh", "-i", filepath.Join(l.dir, "ssh", "id_ed25519"), "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile=" + filepath.Join(l.dir, "known_hosts"), "root@" + addr, "--",
	}, argv...)...)
}

// run runs argv, fails the test when it fails, and returns stdout.
func run(t *testing.T, limit time.Duration, argv ...string) string {
	t.Helper()
	out, err := try(t, limit, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// try runs argv; stderr goes to the test's log as it comes.
func try(t *testing.T, limit time.Duration, argv ...string) (string, error) {
	t.Helper()
	return tryTo(t, limit, os.Stderr, argv...)
}

// tryTo is try with another place for stderr.
func tryTo(t *testing.T, limit time.Duration, stderr io.Writer, argv ...string) (string, error) {
	t.Helper()
	// Clean-up runs after the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout bytes.Buffer
	errs := &tail{max: 16 << 10}
	cmd.Stdout, cmd.Stderr = &stdout, io.MultiWriter(errs, stderr)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w\n%s", err, errs.b)
	}
	return stdout.String(), nil
}

// eventually calls f every second until it returns nil.
func eventually(t *testing.T, limit time.Duration, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	deadline := time.After(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-tick.C:
		}
	}
}

// installLimit ends an install that hangs. Its steps have limits of their own, and a machine
// with other work may be slow.
const installLimit = 45 * time.Minute

// limit returns how long clients may wait for something: four times as long in CI as with
// E2E_LONG, since CI's machine has other work and has to find what never comes back.
func limit(d time.Duration) time.Duration {
	if os.Getenv("E2E_LONG") == "" {
		return 4 * d
	}
	return d
}

// tail keeps the last bytes written to it.
type tail struct {
	b   []byte
	max int
}

func (w *tail) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	if len(w.b) > w.max {
		w.b = w.b[len(w.b)-w.max:]
	}
	return len(p), nil
}

// exitCode returns the exit status behind an error of try, 0 for nil and -1 if there is none.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
