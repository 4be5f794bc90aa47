package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os/exec"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
)

// maxProgramSignature bounds the output of a signing program in bytes.
const maxProgramSignature = 4 << 10

// signProgram returns a Signer that runs the program of --sign-exec with the fingerprint
// of the key as its argument. The program reads the message and writes the signature, DER
// or base64 of that.
func (a *app) signProgram(ctx context.Context, o signerOptions, fingerprint string) trust.Signer {
	return func(message []byte) ([]byte, error) {
		out := &limitedBuffer{limit: maxProgramSignature}
		err := program{o.exec, o.timeout}.run(ctx, func(cmd *exec.Cmd) {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(message), out, a.stderr
		}, fingerprint)
		switch {
		case out.full:
			return nil, fmt.Errorf("%q wrote more than %d bytes, expected a signature", o.exec, maxProgramSignature)
		case err != nil:
			return nil, err
		case len(out.content) == 0:
			return nil, fmt.Errorf("%q wrote nothing, expected a signature", o.exec)
		}
		return decodeSignature(out.content), nil
	}
}

// program is a program of the user, which is started without a shell.
type program struct {
	path    string
	timeout time.Duration
}

// run runs the program with these arguments, after set has completed the command.
func (p program) run(ctx context.Context, set func(*exec.Cmd), args ...string) error {
	running, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	cmd := exec.CommandContext(running, p.path, args...)
	cmd.WaitDelay = time.Second // for children that hold its output
	set(cmd)
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case running.Err() != nil:
		return fmt.Errorf("%q did not end within %s", p.path, p.timeout)
	case err != nil:
		return fmt.Errorf("%q: %w", p.path, err)
	}
	return nil
}

// decodeSignature returns b, or its content if it is base64: a signature in DER does not
// begin as base64 of one does.
func decodeSignature(b []byte) []byte {
	text := bytes.Join(bytes.Fields(b), nil)
	if der, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
		return der
	}
	return b
}

// limitedBuffer fails when more than limit bytes are written to it.
type limitedBuffer struct {
	content []byte
	limit   int
	full    bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.content)+len(p) > b.limit {
		b.full = true
		return 0, reader.ErrTooLarge
	}
	b.content = append(b.content, p...)
	return len(p), nil
}
