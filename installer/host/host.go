// Package host reaches machines: this one (Local) or others over SSH (DialSSH).
//
// A Host only runs a program with streams and uploads a file; the agent, which is
// started with them, does everything else. Over SSH, where a remote shell reads a line
// of text, all arguments go through one quoting function.
//
// The package authenticates hosts (known_hosts, a pinned fingerprint). It does not
// know the programs that run there.
package host

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Host is one machine. Safe for concurrent use.
type Host interface {
	// Name is the name in the inventory.
	Name() string
	// Run runs argv as root and waits for its end; a non-zero exit is an *ExitError.
	// When ctx ends, Run closes stdin, so that a program that reads it can finish, and
	// kills the program a few seconds later.
	Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error
	// Upload writes r to the file dest, completely or not at all: it writes a temporary
	// file, compares size and SHA-256 on the host, and renames the file.
	Upload(ctx context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error
	// Close ends the connection.
	Close() error
}

// grace is the time for a program to end after its stdin is closed.
const grace = 5 * time.Second

// ExitError reports that a program exited with another code than 0.
type ExitError struct {
	Program string
	Code    int // -1 if a signal ended it
	Stderr  string
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%q: exit code %d", e.Program, e.Code)
	if e.Stderr != "" {
		s += ": " + e.Stderr
	}
	return s
}

// Output runs argv on h and returns its stdout.
func Output(ctx context.Context, h Host, argv ...string) (string, error) {
	var out, errOut strings.Builder
	err := h.Run(ctx, argv, nil, &out, &errOut)
	if exit, ok := errors.AsType[*ExitError](err); ok {
		exit.Stderr = strings.TrimSpace(errOut.String())
	}
	return out.String(), err
}

// The shell programs of upload are constant; variable parts are arguments.
const (
	receive = `umask 022 && mkdir -p "$1" && umask 077 && cat > "$2" && sha256sum < "$2"`
	place   = `chmod "$1" "$2" && mv -f "$2" "$3"`
)

// upload implements Upload by Run, for every kind of host.
func upload(ctx context.Context, h Host, r io.Reader, size int64, dest string, mode fs.FileMode) error {
	if !path.IsAbs(dest) || path.Clean(dest) != dest {
		return fmt.Errorf("upload to %q: want a clean absolute path", dest)
	}
	tmp := dest + ".offk8s-" + strings.ToLower(rand.Text()[:10])
	sum := sha256.New()
	counted := &counter{r: io.TeeReader(r, sum)}
	var out, errOut strings.Builder
	argv := []string{"sh", "-c", receive, "sh", path.Dir(dest), tmp}
	err := h.Run(ctx, argv, counted, &out, &errOut)
	want := hex.EncodeToString(sum.Sum(nil))
	got, _, _ := strings.Cut(out.String(), " ")
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(errOut.String()))
	case counted.n != size:
		err = fmt.Errorf("read %d bytes of %d", counted.n, size)
	case got != want:
		err = fmt.Errorf("arrived with sha256 %q, sent %q", got, want)
	default:
		argv := []string{"sh", "-c", place, "sh", fmt.Sprintf("%04o", mode.Perm()), tmp, dest}
		if err = h.Run(ctx, argv, nil, io.Discard, &errOut); err == nil {
			return nil
		}
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(errOut.String()))
	}
	if ctx.Err() == nil {
		err = errors.Join(err, h.Run(ctx, []string{"rm", "-f", "--", tmp}, nil, io.Discard, io.Discard))
	}
	return fmt.Errorf("upload to %q: %w", dest, err)
}

// counter counts the bytes that were read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
