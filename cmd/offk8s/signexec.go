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
		running, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		cmd := exec.CommandContext(running, o.exec, fingerprint)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(message), a.stderr
		cmd.WaitDelay = time.Second // for children that hold its stdout
		out := &limitedBuffer{limit: maxProgramSignature}
		cmd.Stdout = out
		err := cmd.Run()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case running.Err() != nil:
			return nil, fmt.Errorf("%q did not end within %s", o.exec, o.timeout)
		case out.full:
			return nil, fmt.Errorf("%q wrote more than %d bytes, expected a signature", o.exec, maxProgramSignature)
		case err != nil:
			return nil, fmt.Errorf("%q: %w", o.exec, err)
		case len(out.content) == 0:
			return nil, fmt.Errorf("%q wrote nothing, expected a signature", o.exec)
		}
		return decodeSignature(out.content), nil
	}
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
