// Package host reaches machines: this one (Local) or others over SSH (DialSSH).
//
// A Host does two things only, run a program with streams and put a file in
// place; everything else is done by the agent that is started with them. Argv
// is data: over SSH, where a shell of the other side reads a line of text, it
// goes through one quoting function.
//
// The package decides whom to trust as a host (known_hosts, a pinned
// fingerprint) and nothing about what runs there.
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
	// Name is what the inventory calls it.
	Name() string
	// Run runs argv as root and returns when it ended; a code other than 0 is an
	// *ExitError. When ctx ends, stdin ends first, so that a program that reads it
	// can finish in order, and soon after the program is ended.
	Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error
	// Upload makes the file dest of r's bytes, whole or not at all: it is written
	// beside its place, its size and sha256 are compared there, then it is renamed.
	Upload(ctx context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error
	// Close ends the connection.
	Close() error
}

// grace is how long a program may take to end after its stdin did.
const grace = 5 * time.Second

// ExitError is a program that ended with another code than 0.
type ExitError struct {
	Program string
	Code    int // -1: ended by a signal
	Stderr  string
}

// Error tells program, code and what it said last.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("%q: exit code %d", e.Program, e.Code)
	if e.Stderr != "" {
		s += ": " + e.Stderr
	}
	return s
}

// Output runs argv on h and returns what it wrote to stdout.
func Output(ctx context.Context, h Host, argv ...string) (string, error) {
	var out, errOut strings.Builder
	err := h.Run(ctx, argv, nil, &out, &errOut)
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		exit.Stderr = strings.TrimSpace(errOut.String())
	}
	return out.String(), err
}

// The programs of upload are constant; what differs comes as arguments.
const (
	receive = `umask 077 && mkdir -p -m 0755 "$1" && cat > "$2" && sha256sum < "$2"`
	place   = `chmod "$1" "$2" && mv -f "$2" "$3"`
)

// upload is Upload over Run, the same for every kind of host.
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

// counter counts what was read.
type counter struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
