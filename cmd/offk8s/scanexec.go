package main

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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
)

// Errors of the program of --scan-exec.
var (
	// errRefused means that it has looked at a bundle and refuses it.
	errRefused = errors.New("the scan refuses the bundle")
	// errScan means that it came to no result.
	errScan = errors.New("the scan failed")
)

// scanOptions are the flags of commands that have a bundle scanned.
type scanOptions struct {
	program
}

func (o *scanOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.path, "scan-exec", "", "program that looks at the bundle and refuses it with an exit code other than 0 (docs/own-content.md)")
	f.DurationVar(&o.timeout, "scan-timeout", time.Hour, "how long the program of --scan-exec may take")
}

// check returns an error if the program cannot be started, before the long work.
func (o *scanOptions) check() error {
	if o.path == "" {
		return nil
	}
	if _, err := exec.LookPath(o.path); err != nil {
		return fmt.Errorf("--scan-exec %q: %w", o.path, errors.Unwrap(err))
	}
	return nil
}

// checkFunc returns bundle.PackOptions.Check: it has the finished bundle scanned that key
// signs, nil if nobody does. It returns nil without --scan-exec.
func (o *scanOptions) checkFunc(key *trust.KeyPair, base string, output io.Writer) func(context.Context, string) error {
	if o.path == "" {
		return nil
	}
	return func(ctx context.Context, path string) (err error) {
		open := bundle.OpenOptions{AllowUnsigned: key == nil}
		if key != nil {
			open.Keys = []trust.PublicKey{key.Public()}
		}
		b, err := bundle.Open(ctx, []string{path}, open)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		paths := []string{path}
		if base != "" {
			paths = append(paths, base)
		}
		return o.scan(ctx, b, paths, output)
	}
}

// scan runs the program over b, which is at the first of paths; the others are its bases.
func (o *scanOptions) scan(ctx context.Context, b *bundle.Bundle, paths []string, output io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "offk8s-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var sbom, list bytes.Buffer
	s, err := bundle.Inspect(b)
	if err != nil {
		return err
	}
	if err := errors.Join(writeDocument(&sbom, bundle.SBOM(b)), writeDocument(&list, s)); err != nil {
		return err
	}
	args := []string{filepath.Join(dir, "sbom.cdx.json")}
	if err := durable.WriteFile(args[0], sbom.Bytes(), 0o600); err != nil {
		return err
	}
	for _, path := range paths {
		at, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		args = append(args, at)
	}
	err = o.run(ctx, func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = &list, output, output
		cmd.Env = scanEnv(os.Environ(), b)
		// Its children end with it: scanners are often started by a script.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	}, args...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case ok && exit.Exited():
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return fmt.Errorf("%w: %w", errScan, err)
}

// scanEnv returns the environment for the program: that of offk8s without its settings,
// among which can be secrets, and with those that let offk8s commands open b.
func scanEnv(environ []string, b *bundle.Bundle) []string {
	var out []string
	for _, s := range environ {
		if !strings.HasPrefix(s, "OFFK8S_") {
			out = append(out, s)
		}
	}
	if signer, ok := b.Signer(); ok {
		return append(out, "OFFK8S_KEY="+signer.Fingerprint())
	}
	return append(out, "OFFK8S_INSECURE_ALLOW_UNSIGNED=true")
}
